"""Networks and scans for tests that segment from disk."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor, nn

from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import WindowSettings
from neoseg.labels import LabelSpace
from neoseg.networks import make_head
from neoseg.store import PrepareSettings


class Steps(nn.Module):
    """Looks at single voxels: the logit of channel n is `sharpness` less the distance to n."""

    def __init__(self, channels: int, sharpness: float = 4.0, shift: float = 0.0) -> None:
        super().__init__()
        self.channels, self.sharpness, self.shift = channels, sharpness, shift

    def forward(self, image: Tensor) -> Tensor:
        levels = torch.arange(self.channels, device=image.device)[:, None, None, None]
        return -self.sharpness * (image[:, :1] - self.shift - levels).abs()


def segmenter(
    space: LabelSpace,
    network: nn.Module | None = None,
    head: str = "softmax",
    patch: tuple[int, int, int] = (4, 5, 6),
    **prepare: object,
) -> Segmenter:
    """Return a segmenter; `prepare` changes `PrepareSettings`."""
    made = make_head(head, space)
    return Segmenter(
        network or Steps(made.channels),
        made,
        WindowSettings(patch_size=patch, accumulate="float32"),
        PrepareSettings(**{"normalise": "minmax", "crop_margin": None, **prepare}),
        torch.device("cpu"),
    )


def write_scan(
    path: Path,
    data: np.ndarray,
    axes: str = "RAS",
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    units: str = "mm",
    dtype: type = np.float32,
) -> Path:
    """Write canonical data in another orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-10.0, 5.0, 2.0)
    canonical = nib.Nifti1Image(data.astype(dtype), affine)
    canonical.header.set_xyzt_units(units, "sec")
    target = nib.orientations.axcodes2ornt(tuple(axes))
    start = nib.io_orientation(affine)
    image = canonical.as_reoriented(nib.orientations.ornt_transform(start, target))
    image.header.set_xyzt_units(units, "sec")
    nib.save(image, path)
    return path
