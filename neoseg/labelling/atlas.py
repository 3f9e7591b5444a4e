"""Multi-atlas label propagation inside label sets (Heckemann et al. 2006).

A scan annotated with merged structures (the whole cerebrum) still shows their common border, so
that a fully labelled atlas can be registered onto it closely. The positions of the parts in the
atlas are then a good first estimate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from neoseg.capacity import free_memory, usable_cores
from neoseg.labelling.mixture import BLUR, ITERATIONS, candidates, refined
from neoseg.labelling.pose import starts
from neoseg.labelling.pseudo import Labeller
from neoseg.labelling.registration import register
from neoseg.labelling.votes import Asked, allowed_votes, corners
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import CERTAIN, PseudoLabels
from neoseg.patches.volumes import VolumeDataset, VolumeSample
from neoseg.processes import one_thread

METHOD = 3
"""Number of this method, with its registration; labels of another are not taken for done."""

MAX_LABEL_SETS = 12
"""Number of label sets, the largest of a scan, that are used in a registration."""

MIN_FIT = 0.5
"""Least fraction of an atlas's votes that the scan's label sets must allow, else it is dropped."""

MAX_UNCLEAR = 0.1
"""Largest number of voxels of an atlas that may or may not belong to a label set, as a fraction of
those that do: a structure that is not annotated may be anywhere in the background."""

CHANNEL_WEIGHTS = (3.0, 0.3)
"""Weights of memberships (0 or 1) and intensities (in standard deviations) in a registration."""

BYTES_PER_VOXEL = 1000
"""Memory in bytes that a registration needs for each voxel of a scan."""

VOXELS_PER_PROCESS = 2_000_000
"""Voxels to register that justify starting a process, which takes some seconds."""

NOBODY = 255
"""Marks voxels without a leaf. Leaf positions end at 254, as row 0 is "unknown"."""


@dataclass(frozen=True)
class AtlasLabeller(Labeller):
    """Registers fully labelled scans (atlases) onto others and lets them vote.

    A voxel gets the most probable leaf of its label set, by the trilinear votes of all atlases and,
    with `intensities`, by the images (see `mixture`); its probability is the confidence. Unknown
    voxels, and those for which no atlas votes for an allowed leaf, keep their annotation.

    Attributes:
        scans: the fully labelled training scans.
        number: of atlases registered onto a scan: those most similar to it in the sizes of the
            label sets that both show.
        intensities: whether to blur votes and use the images; else votes are only counted.
        device: on which registrations are computed.
        processes: that register at a time on a CPU, as memory suffices; None takes as many as this
            process has threads, if there is work for them.
    """

    scans: tuple[TrainingScan, ...]
    number: int
    intensities: bool
    device: torch.device
    processes: int | None = None

    def count_processes(self, scans: Sequence[TrainingScan]) -> int:
        """Return how many processes should register onto these scans, each on one thread.

        That is faster than one process with as many threads, whose steps are too small to share.
        """
        if self.device.type != "cpu" or not scans:
            return 1
        self._clear  # noqa: B018, counted here once: what is cached goes to the processes
        voxels = [math.prod(scan.entry.shape) for scan in scans]
        work = sum(voxels) * min(self.number, len(self.scans)) // VOXELS_PER_PROCESS
        wanted = self.processes or min(torch.get_num_threads(), usable_cores(), work)
        return max(1, min(len(scans), wanted, free_memory() // (BYTES_PER_VOXEL * max(voxels))))

    def delineated(self, scan: TrainingScan) -> float:
        """Return how much of the atlases' structures, by volume, a scan tells from background.

        The outline of that part, 0 to 1, leads its registration; all slices count as annotated.
        """
        background = self.codebook.space.background
        sets = self.codebook.rows[np.unique(scan.visible.lookup)]
        volumes = self._counts[:, 1 : 1 + sets.shape[1]].sum(0)  # rows of single leaves
        volumes[background] = 0
        told = sets[~sets[:, background]].any(0)
        return float(volumes[told].sum() / max(1, volumes.sum()))

    @cached_property
    def _atlases(self) -> VolumeDataset:
        return VolumeDataset(self.scans)

    @cached_property
    def _counts(self) -> np.ndarray:
        """Number of voxels of each code in each atlas, `[atlases, R]`."""
        size = self.codebook.size
        codes = (self._atlases[number].codes.flatten() for number in range(len(self.scans)))
        return np.stack([np.bincount(atlas_codes, minlength=size) for atlas_codes in codes])

    @cached_property
    def _clear(self) -> np.ndarray:
        """Whether an atlas delineates the union of a row's leaves: bool `[atlases, R]`."""
        rows = np.arange(self.codebook.size)
        overlap = self.codebook.rows.astype(int) @ self.codebook.rows.T > 0
        inside = self._inside(rows)
        clear: np.ndarray = self._counts @ (overlap & ~inside).T <= MAX_UNCLEAR * (
            self._counts @ inside.T
        )
        return clear

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return labels by the atlases for voxels whose annotation is a set of several leaves.

        On a CPU one thread computes them, since rounding depends on the number of threads.
        """
        with one_thread(self.device):
            return self._predict(sample)

    def _predict(self, sample: VolumeSample) -> PseudoLabels:
        codes = sample.codes.numpy()
        rows = self.codebook.rows
        set_sizes = rows.sum(1)
        still_open = np.isin(codes, np.flatnonzero((set_sizes > 1) & (set_sizes < rows.shape[1])))
        known = self._known(codes)
        at = np.flatnonzero(still_open)
        voters, fits = list[Asked](), []
        for number in self._alike(codes, known) if len(at) else ():
            atlas = self._register(sample, number, known, at)
            fits.append(self._fit(codes.flat[at], atlas))
            if fits[-1] >= MIN_FIT:
                voters.append(atlas)
        labels = self._assemble(codes, at, *self._elect(sample, at, voters))
        if len(voters) == len(fits):
            return labels
        shares = ", ".join(f"{100 * fit:.0f} %" for fit in fits if fit < MIN_FIT)
        note = (
            f"{len(fits) - len(voters)} of {len(fits)} fully labelled scans could not be "
            f"registered to it ({shares} of their voxels fell where its annotation allows them); "
            "they have no vote; look whether its image and labels lie as those of the others do"
        )
        return replace(labels, note=note)

    def _register(
        self, sample: VolumeSample, number: int, known: np.ndarray, at: np.ndarray
    ) -> Asked:
        """Register an atlas onto a scan and return its votes for the voxels `at`.

        Label sets that the atlas does not delineate are not used in the registration.
        """
        delineated = known[self._clear[number, known]]
        atlas = self._atlases[number]
        fixed, moving = self._channels(sample, delineated), self._channels(atlas, delineated)
        start, turns = starts(fixed[:-1], moving[:-1], self.scans[number].entry.geometry.spacing)
        grid = register(fixed, moving, start=start, turns=turns).cpu().view(-1, 3)[at]
        votes, weights = corners(grid, atlas.codes)
        return Asked(votes.numpy(), weights.numpy(), self._clear[number])

    def _fit(self, codes: np.ndarray, asked: Asked) -> float:
        """Return the fraction of an atlas's votes that the label sets of a scan allow."""
        rows = self.codebook.rows
        possible = (rows.astype(int) @ rows.T.astype(int)) > 0
        allowed = float(asked.weights[possible[codes, asked.votes]].sum())
        return allowed / max(float(asked.weights.sum()), 1e-6)

    def _known(self, codes: np.ndarray) -> np.ndarray:
        """Return the largest rows of a scan in descending order, without background."""
        counts = np.bincount(codes.flatten(), minlength=self.codebook.size)
        counts[[0, self.codebook.space.background + 1]] = 0
        return np.argsort(-counts, kind="stable")[: min(MAX_LABEL_SETS, np.count_nonzero(counts))]

    def _alike(self, codes: np.ndarray, known: np.ndarray) -> list[int]:
        counts = np.bincount(codes.flatten(), minlength=self.codebook.size)[known]
        atlas_counts = self._counts @ self._inside(known).T
        distance = np.abs(np.log1p(atlas_counts) - np.log1p(counts)).sum(1)
        # An atlas without lesions, for example, gives no information on their position.
        informative = atlas_counts.any(1)
        order = [
            int(number) for number in np.argsort(distance, kind="stable") if informative[number]
        ]
        return sorted((order or list(range(len(self.scans))))[: self.number])

    def _inside(self, known: np.ndarray) -> np.ndarray:
        """Return for each known set which rows are subsets of it, bool `[known, R]`."""
        rows = self.codebook.rows.astype(int)
        inside: np.ndarray = (rows[known] @ rows.T) == rows.sum(1)
        return inside

    def _channels(self, sample: VolumeSample, known: np.ndarray) -> Tensor:
        """Return channels to register, `[C, X, Y, Z]`: known label sets, and the first image."""
        table = torch.from_numpy(self._inside(known)).float() * CHANNEL_WEIGHTS[0]
        image = sample.image[0].float()
        image = (image - image.mean()) / image.std().clamp(min=1e-6)
        members = table[:, sample.codes.long()]
        return torch.cat([members, image.clamp(-3, 3)[None] * CHANNEL_WEIGHTS[1]]).to(self.device)

    def _elect(
        self, sample: VolumeSample, at: np.ndarray, atlases: list[Asked]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the most probable allowed leaf of each voxel, and its probability (0: no vote).

        If some atlases delineate a label set, only those vote inside it.
        """
        codes = sample.codes.numpy().flat[at]
        images = sample.image[list(sample.present)] if any(sample.present) else sample.image
        values = images.flatten(1).T.numpy()
        leaf, share = np.full(len(at), NOBODY, np.uint8), np.zeros(len(at))
        for code in np.unique(codes) if atlases else ():
            inside = codes == code
            voters = [atlas for atlas in atlases if atlas.clear[code]] or atlases
            votes = np.concatenate([atlas.votes[:, inside] for atlas in voters])
            weights = np.concatenate([atlas.weights[:, inside] for atlas in voters])
            leaf_votes = allowed_votes(votes, weights, self.codebook.rows, code)
            blur, iterations = (BLUR, ITERATIONS) if self.intensities else (0.0, 0)
            mixture = candidates(*leaf_votes, at[inside], tuple(sample.codes.shape), blur)
            leaf[inside], share[inside] = refined(mixture, values[at[inside]], iterations).most()
        leaf[share == 0] = NOBODY
        return leaf, share

    def _assemble(
        self, codes: np.ndarray, at: np.ndarray, leaf: np.ndarray, share: np.ndarray
    ) -> PseudoLabels:
        single = self.codebook.rows.sum(1) == 1
        leaves = np.where(single[codes], codes - 1, NOBODY).astype(np.uint8)
        confidence = np.where(single[codes], CERTAIN, 0).astype(np.uint8)
        new = codes.copy()
        leaves.flat[at], confidence.flat[at] = leaf, (share * CERTAIN).round()
        confident = (leaf != NOBODY) & (share >= self.min_confidence)
        new.flat[at[confident]] = leaf[confident] + 1
        return PseudoLabels(self._fill(leaves, codes), confidence, new)

    def _fill(self, leaves: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Fill voxels without a leaf by the nearest allowed one, for display."""
        missing = leaves == NOBODY
        filled = leaves.copy()
        for code in np.unique(codes[missing]):
            voxels = missing & (codes == code)
            allowed = np.flatnonzero(self.codebook.rows[code])
            sources = np.isin(leaves, allowed) & ~missing
            filled[voxels] = allowed[0]
            if code and sources.any():
                nearest = distance_transform_edt(
                    ~sources, return_distances=False, return_indices=True
                )
                filled[voxels] = leaves[tuple(nearest[:, voxels])]
        return filled
