"""Which images of a scan a network sees, and what it gets in place of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from neoseg.cohort import MissingModality, Scan
from neoseg.patches.batch import Batch


def presence(scan: Scan) -> tuple[bool, ...]:
    """Tell for each modality whether the scan has it."""
    return tuple(path is not None for path in scan.images)


def draw_presence(
    scan: Scan, missing: MissingModality | None, seed: Sequence[int]
) -> Tensor | None:
    """Return bool `[1, M]`: what training shows of a scan; None where nothing is filled in.

    Under "dropout" each modality but the first, which no scan lacks, is hidden with a probability
    of its own draw.
    """
    if missing is None or not missing.fills or len(scan.images) < 2:
        return None
    rng = np.random.default_rng(seed)
    shown = rng.random(len(scan.images)) >= missing.hidden
    shown[0] = True
    return torch.from_numpy(shown & np.array(presence(scan)))[None]


def complete(image: Tensor, present: Tensor | Sequence[bool]) -> Tensor:
    """Return what a network that fills in missing images gets.

    Args:
        image: `[B, M, X, Y, Z]`; what it holds of images that are not present does not matter.
        present: bool `[B, M]`, or one row for all.

    Returns:
        `[B, M + M - 1, X, Y, Z]`: the images, zero (the mean under z-score) where they are not
        present, and for each but the first a channel of ones where it is present, else zeros. A
        single modality has no flag: the image itself.
    """
    modalities = image.shape[1]
    if modalities == 1:
        return image
    rows = torch.as_tensor(present, device=image.device).expand(image.shape[0], modalities)
    shown = rows[:, :, None, None, None]
    flags = shown[:, 1:].to(image.dtype).expand(-1, -1, *image.shape[2:])
    return torch.cat([image.masked_fill(~shown, 0.0), flags], dim=1)


def complete_batch(batch: Batch) -> Batch:
    """Return a batch with `complete` images, the student's and the teacher's alike."""
    if batch.present is None:
        return batch
    taught = batch.teacher_image
    if taught is not None:
        taught = complete(taught, batch.present)
    return replace(batch, image=complete(batch.image, batch.present), teacher_image=taught)


def complete_volume(
    image: Tensor, present: Sequence[bool], missing: MissingModality | None
) -> Tensor:
    """Return `[channels, X, Y, Z]` of prepared images `[M, X, Y, Z]`, as the training has them."""
    if missing is None or not missing.fills:
        return image
    return complete(image[None], present)[0]
