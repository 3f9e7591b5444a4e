"""Scores of class probabilities: agreement with the hierarchy, and calibration."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from neoseg.labels import Codebook, LabelSpace
from neoseg.networks import Head, MultiLabelHead

BINS = 15

_VALUES = 2**22
"""Probabilities that are looked at together (32 MiB in float64)."""


class HierarchyCheck:
    """For each class, the share of its voxels that lie outside a class that contains it.

    A voxel belongs to a class whose probability is above 0.5. Give it the logits of a volume piece
    by piece.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        # A head whose classes are sums of their leaves cannot disagree with itself.
        self._above = ancestors(head.space) if isinstance(head, MultiLabelHead) else {}
        self._inside = np.zeros(head.space.num_classes)
        self._outside = np.zeros(head.space.num_classes)

    def add(self, logits: Tensor) -> None:
        """Count the voxels of a piece `[N, *S]`."""
        if not self._above:
            return
        chosen = self._head.class_probabilities(logits[None].float())[0].flatten(1) > 0.5
        self._inside += chosen.sum(dim=1).cpu().numpy()
        for child, parents in self._above.items():
            self._outside[child] += int((chosen[child] & ~chosen[parents].all(dim=0)).sum())

    @property
    def violations(self) -> np.ndarray:
        """The shares `[C]`, 0 to 1; NaN where a class has no voxel or no other class above it."""
        share = np.full(len(self._inside), np.nan)
        scored = [child for child in self._above if self._inside[child]]
        share[scored] = self._outside[scored] / self._inside[scored]
        return share


def ancestors(space: LabelSpace) -> dict[int, list[int]]:
    """Return class -> the classes that contain it, but for that of all leaves."""
    sets = [entry.leaves for entry in space.classes]
    found = {
        child: [c for c, leaves in enumerate(sets) if own < leaves != space.everything]
        for child, own in enumerate(sets)
    }
    return {child: parents for child, parents in found.items() if parents}


class Calibration:
    """The expected calibration error of each class, each taken as a yes-no question.

    With the voxels sorted by probability into bins of equal width, it is the mean over bins,
    weighted by their voxels, of |mean probability - share of voxels that are in the class| (Naeini
    et al., AAAI 2015). Counted are the voxels that are not background by the truth or, with a
    probability above 0.5, by the prediction: the empty space around a head would make any network
    look calibrated. Voxels on which the truth does not know a class do not count for it.

    Give it the logits of a volume piece by piece, with what the truth says there.
    """

    def __init__(self, head: Head, codebook: Codebook, bins: int = BINS) -> None:
        self._head = head
        self._members = codebook.membership
        self._background = codebook.space.background
        self._bins = bins
        self._voxels, self._positives, self._sums = np.zeros((3, head.space.num_classes, bins))

    def add(self, logits: Tensor, truth_codes: np.ndarray) -> None:
        """Count the voxels of a piece: logits `[N, *S]`, uint8 rows of the codebook `[*S]`."""
        flat, codes = logits.flatten(1), truth_codes.ravel()
        count = max(1, _VALUES // len(self._voxels))
        for start in range(0, flat.shape[1], count):
            part = slice(start, start + count)
            probability = self._head.class_probabilities(flat[None, :, part].float())[0]
            self._count(probability.double().cpu().numpy(), codes[part])

    def _count(self, probability: np.ndarray, codes: np.ndarray) -> None:
        counted = (codes != self._background + 1) | (probability[self._background] <= 0.5)
        values = probability[:, counted]
        members = self._members[codes[counted]].T
        places = np.clip(np.ceil(values * self._bins).astype(int) - 1, 0, self._bins - 1)
        places += np.arange(len(values))[:, None] * self._bins
        known = members != -1
        for total, weights in (
            (self._voxels, None),
            (self._positives, (members == 1)[known].astype(float)),
            (self._sums, values[known]),
        ):
            total += np.bincount(places[known], weights, total.size).reshape(total.shape)

    @property
    def errors(self) -> np.ndarray:
        """The errors `[C]`, 0 to 1; NaN for a class of which no voxel is known."""
        with np.errstate(invalid="ignore"):
            gaps = np.abs(self._positives - self._sums).sum(axis=1)
            errors: np.ndarray = gaps / self._voxels.sum(axis=1)
        return errors
