"""Missing images: which images of a scan a network sees, and its input in place of the others."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from neoseg.cohort import MissingModality, Scan
from neoseg.patches.batch import Batch


def presence(scan: Scan) -> tuple[bool, ...]:
    """Return for each modality whether the scan has it."""
    return tuple(path is not None for path in scan.images)


def draw_presence(
    scan: Scan, missing: MissingModality | None, seed: Sequence[int]
) -> Tensor | None:
    """Return bool `[1, M]`, the images that training shows of a scan; None if nothing is filled in.

    With "dropout" each modality but the first, which every scan has, is hidden with the given
    probability, independently.
    """
    if missing is None or not missing.fills or len(scan.images) < 2:
        return None
    rng = np.random.default_rng(seed)
    visible = rng.random(len(scan.images)) >= missing.hidden
    visible[0] = True
    return torch.from_numpy(visible & np.array(presence(scan)))[None]


def complete(image: Tensor, present: Tensor | Sequence[bool]) -> Tensor:
    """Return the input of a network that fills in missing images.

    Args:
        image: `[B, M, X, Y, Z]`; values of images that are not present are ignored.
        present: bool `[B, M]`, or one row for all items.

    Returns:
        `[B, M + M - 1, X, Y, Z]`: the images, set to zero (the mean under z-score) if not present,
        and for each image but the first a flag channel of ones if it is present, else of zeros. A
        single modality has no flag: its image is returned unchanged.
    """
    modalities = image.shape[1]
    if modalities == 1:
        return image
    rows = torch.as_tensor(present, device=image.device).expand(image.shape[0], modalities)
    mask = rows[:, :, None, None, None]
    flags = mask[:, 1:].to(image.dtype).expand(-1, -1, *image.shape[2:])
    return torch.cat([image.masked_fill(~mask, 0.0), flags], dim=1)


def complete_batch(batch: Batch) -> Batch:
    """Return a batch with the images of student and teacher completed by `complete`."""
    if batch.present is None:
        return batch
    teacher_image = batch.teacher_image
    if teacher_image is not None:
        teacher_image = complete(teacher_image, batch.present)
    return replace(batch, image=complete(batch.image, batch.present), teacher_image=teacher_image)


def complete_volume(
    image: Tensor, present: Sequence[bool], missing: MissingModality | None
) -> Tensor:
    """Return the input `[channels, X, Y, Z]` for prepared images `[M, X, Y, Z]`, as in training."""
    if missing is None or not missing.fills:
        return image
    return complete(image[None], present)[0]
