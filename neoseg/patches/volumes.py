"""Dataset of whole prepared scans, for validation and for predictions during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from neoseg.labels import UNKNOWN, hide_slices
from neoseg.patches.completion import presence
from neoseg.patches.dataset import TrainingScan


@dataclass(frozen=True)
class VolumeSample:
    """A whole prepared scan.

    Attributes:
        image: `[M, X, Y, Z]`.
        codes: uint8 `[X, Y, Z]`.
        number: its index in the dataset.
        present: which of its images it has.
    """

    image: Tensor
    codes: Tensor
    number: int
    present: tuple[bool, ...] = ()

    def to(self, *args: object, **kwargs: object) -> VolumeSample:
        """Move the tensors, as `Tensor.to`."""
        image = self.image.to(*args, **kwargs)  # type: ignore[call-overload]
        codes = self.codes.to(*args, **kwargs)  # type: ignore[call-overload]
        return VolumeSample(image, codes, self.number, self.present)


class VolumeDataset(Dataset[VolumeSample]):
    """Whole scans with the codes that their annotation gives, for validation."""

    def __init__(self, scans: Sequence[TrainingScan]) -> None:
        self.scans = tuple(scans)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, number: int) -> VolumeSample:
        entry, visible = self.scans[number].entry, self.scans[number].visible
        image = entry.read_image().astype(np.float32)
        codes = np.full(entry.shape, UNKNOWN, dtype=np.uint8)
        if entry.annotated:
            codes = visible.lookup[entry.read_codes()]
            hide_slices(codes, visible.slices, visible.slice_axis)
        present = presence(entry.scan)
        return VolumeSample(torch.from_numpy(image), torch.from_numpy(codes), number, present)
