"""Scores of class probabilities: consistency with the class hierarchy, and calibration."""

import numpy as np
from torch import Tensor

from neoseg.labels import Codebook, LabelSpace
from neoseg.networks import Head, MultiLabelHead

BINS = 15

_VALUES = 2**22
"""Probabilities per chunk (32 MiB in float64)."""


class HierarchyCheck:
    """For each class, the share of its voxels that are outside a class that contains it.

    A voxel is in a class if the probability is above 0.5. The logits of a volume are added piece
    by piece.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        # Heads that sum leaf probabilities are consistent by construction.
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
        """The shares `[C]`, 0 to 1; NaN for classes without voxels or without ancestors."""
        share = np.full(len(self._inside), np.nan)
        scored = [child for child in self._above if self._inside[child]]
        share[scored] = self._outside[scored] / self._inside[scored]
        return share


def ancestors(space: LabelSpace) -> dict[int, list[int]]:
    """Return class -> the classes that strictly contain it, except the class of all leaves.

    Classes without such ancestors are left out.
    """
    sets = [entry.leaves for entry in space.classes]
    above = {
        child: [c for c, container in enumerate(sets) if leaves < container != space.everything]
        for child, leaves in enumerate(sets)
    }
    return {child: parents for child, parents in above.items() if parents}


class Calibration:
    """The expected calibration error of each class, as a binary decision (one class vs the rest).

    Voxels are binned by probability into bins of equal width; the error is the mean over bins,
    weighted by their number of voxels, of |mean probability - share of voxels in the class|
    (Naeini et al., AAAI 2015). A voxel is left out if the truth is background and the predicted
    background probability is above 0.5: the empty space around a head would make any network look
    calibrated. Voxels for which the truth leaves a class unknown do not count for that class.

    The logits of a volume are added piece by piece, together with the truth of the piece.
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
        bin_index = np.clip(np.ceil(values * self._bins).astype(int) - 1, 0, self._bins - 1)
        bin_index += np.arange(len(values))[:, None] * self._bins
        known = members != -1
        for histogram, weights in (
            (self._voxels, None),
            (self._positives, (members == 1)[known].astype(float)),
            (self._sums, values[known]),
        ):
            histogram += np.bincount(bin_index[known], weights, histogram.size).reshape(
                histogram.shape
            )

    @property
    def errors(self) -> np.ndarray:
        """The errors `[C]`, 0 to 1; NaN for a class that is unknown on every counted voxel."""
        with np.errstate(invalid="ignore"):
            gaps = np.abs(self._positives - self._sums).sum(axis=1)
            errors: np.ndarray = gaps / self._voxels.sum(axis=1)
        return errors
