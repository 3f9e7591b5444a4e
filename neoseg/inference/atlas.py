"""Atlases: fully labelled scans, registered onto others, vote inside their label sets.

A scan that tells structures together (the whole cerebrum) says where their border is, so that an
atlas which knows the parts can be laid upon it closely; where the parts lie in it is then a good
first guess (label propagation, as in multi-atlas segmentation; Heckemann et al. 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from neoseg.inference.mixture import BLUR, ITERATIONS, candidates, refined
from neoseg.inference.pseudo import Labeller
from neoseg.inference.registration import register
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import CERTAIN, PseudoLabels
from neoseg.patches.volumes import VolumeDataset, VolumeSample

CLASSES = 12
"""Label sets, the largest of a scan, that take part in a registration."""

WEIGHTS = (3.0, 0.3)
"""Of memberships (0 or 1) and intensities (standard deviations) in a registration."""

NOBODY = 255
"""In place of a leaf where an atlas has none to give. Leaves end at 254: row 0 is "unknown"."""


@dataclass(frozen=True)
class AtlasLabeller(Labeller):
    """Registers fully labelled scans onto others and lets them vote.

    A voxel gets the most probable leaf of its label set: by the votes (trilinear, of all atlases
    together), and by what the images show where `intensities` says so (see `mixture`); its
    probability is the confidence. Where nothing is known, and where no atlas names a leaf that is
    allowed, the annotation stays.

    Attributes:
        scans: the fully labelled training scans.
        number: of them that are registered onto a scan: those most alike in the sizes of what both
            tell.
        intensities: whether votes are blurred and the images have a say; else votes are counted.
        device: where registrations are computed.
    """

    scans: tuple[TrainingScan, ...]
    number: int
    intensities: bool
    device: torch.device

    @cached_property
    def _atlases(self) -> VolumeDataset:
        return VolumeDataset(self.scans)

    @cached_property
    def _leaf_counts(self) -> np.ndarray:
        """Voxels of each leaf in each atlas, `[atlases, K]`."""
        leaves = (self._leaves(self._atlases[place]) for place in range(len(self.scans)))
        size = self.codebook.space.num_leaves
        return np.stack([np.bincount(found.flatten(), minlength=256)[:size] for found in leaves])

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return what the atlases say of the voxels that an annotation leaves open."""
        codes = sample.codes.numpy()
        rows = self.codebook.rows
        size = rows.sum(1)
        still_open = np.isin(codes, np.flatnonzero((size > 1) & (size < rows.shape[1])))
        known = self._known(codes)
        at = np.flatnonzero(still_open)
        votes, weights = [], []
        if len(at):
            fixed = self._channels(sample, torch.from_numpy(codes), known, rows.T)
            for atlas in (self._atlases[number] for number in self._alike(codes, known)):
                leaves = torch.from_numpy(self._leaves(atlas))
                moving = self._channels(atlas, leaves, known, np.eye(256, rows.shape[1]).T)
                grid = register(fixed, moving).cpu().view(-1, 3)[at]
                vote, weight = corners(grid, leaves)
                votes.append(vote.numpy())
                weights.append(weight.numpy())
        if votes:
            found = self._elected(sample, at, np.concatenate(votes), np.concatenate(weights))
        else:
            found = np.zeros(0, np.uint8), np.zeros(0)
        return self._labels(codes, at, *found)

    def _leaves(self, sample: VolumeSample) -> np.ndarray:
        """Return leaf positions uint8 `[X, Y, Z]`, `NOBODY` where an atlas leaves them open."""
        table = np.full(256, NOBODY, np.uint8)
        table[1 : self.codebook.space.num_leaves + 1] = np.arange(self.codebook.space.num_leaves)
        leaves: np.ndarray = table[sample.codes.numpy()]
        return leaves

    def _known(self, codes: np.ndarray) -> np.ndarray:
        """Return the rows that a scan shows, the largest ones first, without background."""
        counts = np.bincount(codes.flatten(), minlength=self.codebook.size)
        counts[[0, self.codebook.space.background + 1]] = 0
        return np.argsort(-counts, kind="stable")[: min(CLASSES, np.count_nonzero(counts))]

    def _alike(self, codes: np.ndarray, known: np.ndarray) -> list[int]:
        if self.number >= len(self.scans):
            return list(range(len(self.scans)))
        counts = np.bincount(codes.flatten(), minlength=self.codebook.size)[known]
        theirs = self._leaf_counts @ self.codebook.rows[known].T
        unlike = np.abs(np.log1p(theirs) - np.log1p(counts)).sum(1)
        return sorted(np.argsort(unlike, kind="stable")[: self.number].tolist())

    def _channels(
        self, sample: VolumeSample, labels: Tensor, known: np.ndarray, leaves_of: np.ndarray
    ) -> Tensor:
        """Return `[C, X, Y, Z]`: memberships of the known label sets, and the first image.

        `leaves_of` `[K, 256 or R]` tells which leaves a value of `labels` stands for; it belongs to
        a set where all of them do.
        """
        inside = (self.codebook.rows[known].astype(int) @ leaves_of.astype(int)) == np.maximum(
            leaves_of.sum(0), 1
        )
        table = torch.from_numpy(inside).float() * WEIGHTS[0]
        image = sample.image[0].float()
        image = (image - image.mean()) / image.std().clamp(min=1e-6)
        members = table[:, labels.long()]
        return torch.cat([members, image.clamp(-3, 3)[None] * WEIGHTS[1]]).to(self.device)

    def _elected(
        self, sample: VolumeSample, at: np.ndarray, votes: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the most probable leaf among those allowed, and its probability (0: no vote)."""
        codes = sample.codes.numpy().flat[at]
        images = sample.image[list(sample.present)] if any(sample.present) else sample.image
        values = images.flatten(1).T.numpy()
        leaf, share = np.full(len(at), NOBODY, np.uint8), np.zeros(len(at))
        for code in np.unique(codes):
            here = codes == code
            allowed = np.zeros(256, bool)
            allowed[: self.codebook.space.num_leaves] = self.codebook.rows[code]
            vote = votes[:, here]
            blur, iterations = (BLUR, ITERATIONS) if self.intensities else (0.0, 0)
            found = candidates(
                vote, weights[:, here] * allowed[vote], at[here], tuple(sample.codes.shape), blur
            )
            leaf[here], share[here] = refined(found, values[at[here]], iterations).most()
        leaf[share == 0] = NOBODY
        return leaf, share

    def _labels(
        self, codes: np.ndarray, places: np.ndarray, leaf: np.ndarray, share: np.ndarray
    ) -> PseudoLabels:
        single = self.codebook.rows.sum(1) == 1
        leaves = np.where(single[codes], codes - 1, NOBODY).astype(np.uint8)
        confidence = np.where(single[codes], CERTAIN, 0).astype(np.uint8)
        new = codes.copy()
        leaves.flat[places], confidence.flat[places] = leaf, (share * CERTAIN).round()
        sure = (leaf != NOBODY) & (share >= self.min_confidence)
        new.flat[places[sure]] = leaf[sure] + 1
        return PseudoLabels(self._filled(leaves, codes), confidence, new)

    def _filled(self, leaves: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Give voxels without a leaf, for people to look at, that of the nearest allowed one."""
        left = leaves == NOBODY
        filled = leaves.copy()
        for code in np.unique(codes[left]):
            here = left & (codes == code)
            allowed = np.flatnonzero(self.codebook.rows[code])
            found = np.isin(leaves, allowed) & ~left
            filled[here] = allowed[0]
            if code and found.any():
                nearest = distance_transform_edt(
                    ~found, return_distances=False, return_indices=True
                )
                filled[here] = leaves[tuple(nearest[:, here])]
        return filled


def corners(grid: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels and trilinear weights of the eight voxels around each position.

    Args:
        grid: `[n, 3]`, positions as `grid_sample` has them, corners not aligned.
        labels: uint8 `[X, Y, Z]`.

    Returns:
        uint8 `[8, n]` and float32 `[8, n]`, whose sum is 1 everywhere.
    """
    shape = torch.tensor(labels.shape)
    at = ((grid.flip(1) + 1) * shape - 1) / 2
    at = torch.minimum(at.clamp(min=0), shape - 1)
    low = at.floor().long()
    rest = at - low
    votes, weights = [], []
    for number in range(8):
        up = torch.tensor([number >> 2 & 1, number >> 1 & 1, number & 1])
        x, y, z = torch.minimum(low + up, shape - 1).unbind(1)
        votes.append(labels[x, y, z])
        weights.append(torch.where(up.bool(), rest, 1 - rest).prod(1))
    return torch.stack(votes), torch.stack(weights)
