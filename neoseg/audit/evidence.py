"""One annotated scan beside the answers of a network that has not seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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

SURE = 0.9
"""Doubt from which an answer is a confident contradiction."""

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Evidence:
    """Arrays `[X, Y, Z]` in canonical axes.

    Attributes:
        codes: what the annotation claims, rows of the codebook.
        leaves: the leaf that the network decides on.
        doubt: 1 minus the probability of the leaves that the annotation allows.
        spacing: mm.
        codebook: of the codes.
    """

    codes: np.ndarray
    leaves: np.ndarray
    doubt: np.ndarray
    spacing: Sequence[float]
    codebook: Codebook

    @property
    def background(self) -> int:
        """Position of the leaf that is no structure."""
        return self.codebook.space.background

    @property
    def voxel(self) -> float:
        """Volume, ml."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def names(self) -> list[str]:
        """Of the leaves."""
        return [leaf.abbreviation for leaf in self.codebook.space.leaves]

    @cached_property
    def allowed(self) -> np.ndarray:
        """Bool: the annotation allows the decision."""
        found: np.ndarray = self.codebook.rows[self.codes, self.leaves]
        return found

    @cached_property
    def sure(self) -> np.ndarray:
        """Bool: the network decides against the annotation, and confidently."""
        found: np.ndarray = (self.doubt >= SURE) & ~self.allowed
        return found

    def structures(self) -> Iterator[tuple[int, Evidence, Place]]:
        """Yield each leaf that is claimed or decided, the part of the scan about it, its corner."""
        claimed = np.where(self.codes <= self.codebook.space.num_leaves, self.codes, UNKNOWN)
        count = self.codebook.space.num_leaves
        boxes = [ndimage.find_objects(v, count) for v in (claimed, self.leaves.astype(int) + 1)]
        for leaf, (one, other) in enumerate(zip(*boxes, strict=True)):
            if leaf == self.background or (one is None and other is None):
                continue
            box = joint_box((one, other))
            part = Evidence(
                self.codes[box], self.leaves[box], self.doubt[box], self.spacing, self.codebook
            )
            yield leaf, part, (box[0].start, box[1].start, box[2].start)


class Doubter:
    """A `Watch` that keeps how much the probabilities speak against an annotation."""

    def __init__(self, codebook: Codebook, truth: Callable[[Geometry], np.ndarray]) -> None:
        self._codebook, self._read = codebook, truth
        self.codes: np.ndarray | None = None
        self.doubt = np.zeros(0)

    def __call__(self, probabilities: Tensor, region: Region, geometry: Geometry) -> None:
        """Look at a piece; what none covers is certain background."""
        if self.codes is None:
            self.codes = self._read(geometry)
            clear = self._codebook.rows[:, self._codebook.space.background]
            self.doubt = np.where(clear[self.codes], 0, 1).astype(np.float16)
        codes, doubt = self.codes[region], self.doubt[region]
        for code in np.unique(codes):
            where = codes == code
            inside = torch.from_numpy(np.flatnonzero(self._codebook.rows[code]))
            known = probabilities[inside.to(probabilities.device)].float().sum(0)
            doubt[where] = np.clip(1 - known.cpu().numpy()[where], 0, 1)


def spot(place: Sequence[int], geometry: Geometry) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the voxel of the file and the millimetres of a place in canonical axes."""
    affine = np.array(geometry.affine)
    turn = nib.orientations.inv_ornt_aff(nib.io_orientation(affine), geometry.shape)
    voxel = (turn @ [*place, 1])[:3]
    world = (affine @ [*voxel, 1])[:3]
    return tuple(round(float(v)) for v in voxel), tuple(round(float(v), 1) for v in world)


def deepest(mask: np.ndarray) -> Place:
    """Return the voxel of a mask that is furthest from its border; the middle of an empty one."""
    if not mask.any():
        return mask.shape[0] // 2, mask.shape[1] // 2, mask.shape[2] // 2
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    ties = np.argwhere(depth == depth.max())  # in a single plane all of them are
    x, y, z = ties[((ties - ties.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return int(x), int(y), int(z)
