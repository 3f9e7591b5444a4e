"""Atlases: fully labelled scans, registered onto others, vote inside their label sets.

A scan that tells structures together (the whole cerebrum) says where their border is, so that an
atlas which knows the parts can be laid upon it closely; where the parts lie in it is then a good
first guess (label propagation, as in multi-atlas segmentation; Heckemann et al. 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from neoseg.labelling.mixture import BLUR, ITERATIONS, candidates, refined
from neoseg.labelling.pseudo import Labeller
from neoseg.labelling.registration import centred, register
from neoseg.labelling.votes import Asked, allowed_votes, corners
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import CERTAIN, PseudoLabels
from neoseg.patches.volumes import VolumeDataset, VolumeSample

CLASSES = 12
"""Label sets, the largest of a scan, that take part in a registration."""

FITTING = 0.5
"""Least share of an atlas's votes that the label sets of a scan allow, if it is to have any."""

UNCLEAR = 0.1
"""Most of a label set, as a share of its voxels in an atlas, of which the atlas does not know
whether they belong to it: where a structure is not drawn, it may be anywhere in the background."""

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
    def _counts(self) -> np.ndarray:
        """Voxels of each code in each atlas, `[atlases, R]`."""
        size = self.codebook.size
        codes = (self._atlases[place].codes.flatten() for place in range(len(self.scans)))
        return np.stack([np.bincount(found, minlength=size) for found in codes])

    @cached_property
    def _clear(self) -> np.ndarray:
        """Whether an atlas knows where a row's leaves, taken together, end: bool `[atlases, R]`."""
        rows = np.arange(self.codebook.size)
        overlap = self.codebook.rows.astype(int) @ self.codebook.rows.T > 0
        inside = self._inside(rows)
        clear: np.ndarray = self._counts @ (overlap & ~inside).T <= UNCLEAR * (
            self._counts @ inside.T
        )
        return clear

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return what the atlases say of the voxels that an annotation leaves open."""
        codes = sample.codes.numpy()
        rows = self.codebook.rows
        size = rows.sum(1)
        still_open = np.isin(codes, np.flatnonzero((size > 1) & (size < rows.shape[1])))
        known = self._known(codes)
        at = np.flatnonzero(still_open)
        asked, fits = list[Asked](), []
        for number in self._alike(codes, known) if len(at) else ():
            one = self._ask(sample, number, known, at)
            fits.append(self._fit(codes.flat[at], one))
            if fits[-1] >= FITTING:
                asked.append(one)
        labels = self._labels(codes, at, *self._elected(sample, at, asked))
        if len(asked) == len(fits):
            return labels
        astray = ", ".join(f"{100 * fit:.0f} %" for fit in fits if fit < FITTING)
        note = (
            f"{len(fits) - len(asked)} of {len(fits)} fully labelled scans could not be laid upon "
            f"it, of whose voxels {astray} fell where its annotation allows them; they have no "
            "vote; look whether its image and labels lie as those of the others do"
        )
        return replace(labels, note=note)

    def _ask(self, sample: VolumeSample, number: int, known: np.ndarray, at: np.ndarray) -> Asked:
        """Lay an atlas upon a scan and return what it says of some voxels.

        Label sets of which it does not know where they end take no part in the registration.
        """
        told = known[self._clear[number, known]]
        atlas = self._atlases[number]
        fixed, moving = self._channels(sample, told), self._channels(atlas, told)
        bodies = [channels[:-1].sum(0) for channels in (fixed, moving)]
        start = centred(*bodies) if all(body.any() for body in bodies) else None
        grid = register(fixed, moving, start=start).cpu().view(-1, 3)[at]
        votes, weights = corners(grid, atlas.codes)
        return Asked(votes.numpy(), weights.numpy(), self._clear[number])

    def _fit(self, codes: np.ndarray, asked: Asked) -> float:
        """Return the share of an atlas's votes that the label sets of a scan allow."""
        rows = self.codebook.rows
        possible = (rows.astype(int) @ rows.T.astype(int)) > 0
        allowed = float(asked.weights[possible[codes, asked.votes]].sum())
        return allowed / max(float(asked.weights.sum()), 1e-6)

    def _known(self, codes: np.ndarray) -> np.ndarray:
        """Return the rows that a scan shows, the largest ones first, without background."""
        counts = np.bincount(codes.flatten(), minlength=self.codebook.size)
        counts[[0, self.codebook.space.background + 1]] = 0
        return np.argsort(-counts, kind="stable")[: min(CLASSES, np.count_nonzero(counts))]

    def _alike(self, codes: np.ndarray, known: np.ndarray) -> list[int]:
        counts = np.bincount(codes.flatten(), minlength=self.codebook.size)[known]
        theirs = self._counts @ self._inside(known).T
        unlike = np.abs(np.log1p(theirs) - np.log1p(counts)).sum(1)
        shown = theirs.any(1)  # a person without lesions cannot say where they lie
        order = [int(place) for place in np.argsort(unlike, kind="stable") if shown[place]]
        return sorted((order or list(range(len(self.scans))))[: self.number])

    def _inside(self, known: np.ndarray) -> np.ndarray:
        """Return whether all leaves of a row belong to known sets, bool `[known, R]`."""
        rows = self.codebook.rows.astype(int)
        inside: np.ndarray = (rows[known] @ rows.T) == rows.sum(1)
        return inside

    def _channels(self, sample: VolumeSample, known: np.ndarray) -> Tensor:
        """Return `[C, X, Y, Z]`: memberships of the known label sets, and the first image."""
        table = torch.from_numpy(self._inside(known)).float() * WEIGHTS[0]
        image = sample.image[0].float()
        image = (image - image.mean()) / image.std().clamp(min=1e-6)
        members = table[:, sample.codes.long()]
        return torch.cat([members, image.clamp(-3, 3)[None] * WEIGHTS[1]]).to(self.device)

    def _elected(
        self, sample: VolumeSample, at: np.ndarray, asked: list[Asked]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the most probable leaf among those allowed, and its probability (0: no vote).

        Where some atlases know the parts of a label set, the others have no say in it.
        """
        codes = sample.codes.numpy().flat[at]
        images = sample.image[list(sample.present)] if any(sample.present) else sample.image
        values = images.flatten(1).T.numpy()
        leaf, share = np.full(len(at), NOBODY, np.uint8), np.zeros(len(at))
        for code in np.unique(codes) if asked else ():
            here = codes == code
            heard = [one for one in asked if one.clear[code]] or asked
            votes = np.concatenate([one.votes[:, here] for one in heard])
            weights = np.concatenate([one.weights[:, here] for one in heard])
            said = allowed_votes(votes, weights, self.codebook.rows, code)
            blur, iterations = (BLUR, ITERATIONS) if self.intensities else (0.0, 0)
            found = candidates(*said, at[here], tuple(sample.codes.shape), blur)
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
