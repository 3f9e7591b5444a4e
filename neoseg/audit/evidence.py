"""One annotated scan with the predictions of a network that was not trained on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from neoseg.evaluation.scores import joint_box
from neoseg.inference.blending import Region
from neoseg.labels import UNKNOWN, Codebook
from neoseg.store import Geometry

CONFIDENT_DOUBT = 0.9
"""Minimum doubt of a confident contradiction."""

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Evidence:
    """Annotation and prediction of a scan; arrays `[X, Y, Z]` in canonical axes.

    Attributes:
        codes: label sets of the annotation, rows of the codebook.
        leaves: leaves decided by the network.
        doubt: 1 minus the total probability of the leaves that the annotation allows.
        spacing: voxel size, mm.
        voxel: volume of a voxel, ml.
        codebook: codebook of the codes.
    """

    codes: np.ndarray
    leaves: np.ndarray
    doubt: np.ndarray
    spacing: Sequence[float]
    voxel: float
    codebook: Codebook

    @property
    def background(self) -> int:
        """Index of the background leaf."""
        return self.codebook.space.background

    @property
    def names(self) -> list[str]:
        """Abbreviations of the leaves."""
        return [leaf.abbreviation for leaf in self.codebook.space.leaves]

    @cached_property
    def allowed(self) -> np.ndarray:
        """Bool mask: the annotation allows the decided leaf."""
        allowed: np.ndarray = self.codebook.rows[self.codes, self.leaves]
        return allowed

    @cached_property
    def sure(self) -> np.ndarray:
        """Bool mask: the network contradicts the annotation with confidence."""
        sure: np.ndarray = (self.doubt >= CONFIDENT_DOUBT) & ~self.allowed
        return sure

    def structures(self) -> Iterator[tuple[int, Evidence, Place]]:
        """Yield each claimed or decided leaf with the cropped scan around it and the crop's corner.

        The background is left out.
        """
        claimed = np.where(self.codes <= self.codebook.space.num_leaves, self.codes, UNKNOWN)
        count = self.codebook.space.num_leaves
        boxes = [ndimage.find_objects(v, count) for v in (claimed, self.leaves.astype(int) + 1)]
        for leaf, (claimed_box, decided_box) in enumerate(zip(*boxes, strict=True)):
            if leaf == self.background or (claimed_box is None and decided_box is None):
                continue
            box = joint_box((claimed_box, decided_box))
            part = replace(
                self, codes=self.codes[box], leaves=self.leaves[box], doubt=self.doubt[box]
            )
            yield leaf, part, (box[0].start, box[1].start, box[2].start)


class Doubter:
    """A `Watch` that records how strongly the probabilities contradict an annotation."""

    def __init__(self, codebook: Codebook, truth: Callable[[Geometry], np.ndarray]) -> None:
        self._codebook, self._read = codebook, truth
        self.codes: np.ndarray | None = None
        self.doubt = np.zeros(0)

    def __call__(self, probabilities: Tensor, region: Region, geometry: Geometry) -> None:
        """Record the doubt of a region; voxels in no region count as certain background."""
        if self.codes is None:
            self.codes = self._read(geometry)
            allows_background = self._codebook.rows[:, self._codebook.space.background]
            self.doubt = np.where(allows_background[self.codes], 0, 1).astype(np.float16)
        codes, doubt = self.codes[region], self.doubt[region]
        for code in np.unique(codes):
            voxels = codes == code
            inside = torch.from_numpy(np.flatnonzero(self._codebook.rows[code]))
            allowed = probabilities[inside.to(probabilities.device)].float().sum(0)
            doubt[voxels] = np.clip(1 - allowed.cpu().numpy()[voxels], 0, 1)


def spot(place: Sequence[int], geometry: Geometry) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the voxel of the file and the world coordinates in mm of a canonical voxel."""
    affine = np.array(geometry.affine)
    to_file = nib.orientations.inv_ornt_aff(nib.io_orientation(affine), geometry.shape)
    voxel = (to_file @ [*place, 1])[:3]
    world = (affine @ [*voxel, 1])[:3]
    return tuple(round(float(v)) for v in voxel), tuple(round(float(v), 1) for v in world)


def deepest(mask: np.ndarray) -> Place:
    """Return the voxel of a mask furthest from its border; the array's centre if it is empty."""
    if not mask.any():
        return mask.shape[0] // 2, mask.shape[1] // 2, mask.shape[2] // 2
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    ties = np.argwhere(depth == depth.max())  # all voxels of a mask that is one voxel thick
    x, y, z = ties[((ties - ties.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return int(x), int(y), int(z)
