"""Compare the answers of networks with the truth of a scan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import Tensor

from neoseg.inference.blending import Region
from neoseg.inference.segmentation import Segmentation
from neoseg.labels import UNKNOWN, Codebook
from neoseg.store import Geometry
from neoseg.trust.agreement import Agreement
from neoseg.trust.chain import Chains
from neoseg.trust.risk import GRID, tally


def arrays_of(raw: Any, shapes: Mapping[str, tuple[int, ...]], what: str) -> dict[str, np.ndarray]:
    """Parse named arrays of the given shapes, finite and at least 0; raises as `from_plain`."""
    arrays = {name: np.array(raw[name], dtype=float) for name in shapes}
    wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
    if wrong or not all(np.isfinite(v).all() and (v >= 0).all() for v in arrays.values()):
        raise ValueError(f"{', '.join(wrong) or 'values'} are not those of {what}")
    return arrays


@dataclass(frozen=True)
class Observation:
    """Answers on one labelled scan, compared with its truth.

    A voxel is counted unless its truth is unknown, or the truth allows background and the decision
    is background.

    Attributes:
        scan: id of the scan, with that of its cohort.
        whole: whether the label file assigns a single leaf to every voxel.
        total: number of voxels, `[1 + K]`: all counted ones, then those of each true leaf.
        wrong: of these, the voxels whose answer excludes the truth at each threshold,
            `[1 + K, T]`.
        depth, size: mean depth and number of leaves of the answers of counted voxels, `[T]`.
        expected: class -> expected Dice, see `Agreement`.
        dice: class -> Dice of the decisions, for the classes that the truth defines.
        appearance: see `neoseg.trust.appearance`.
    """

    scan: str
    whole: bool
    total: np.ndarray
    wrong: np.ndarray
    depth: np.ndarray
    size: np.ndarray
    expected: dict[str, float]
    dice: dict[str, float]
    appearance: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """Convert to plain containers."""
        arrays = ("total", "wrong", "depth", "size")
        return {k: v.tolist() if k in arrays else v for k, v in vars(self).items()}

    @classmethod
    def from_plain(cls, raw: Any, leaves: int) -> Self:
        """Invert `plain`; raises `ValueError`, `KeyError` or `TypeError` for invalid content."""
        grid, rows = len(GRID), leaves + 1
        shapes = {"total": (rows,), "wrong": (rows, grid), "depth": (grid,), "size": (grid,)}
        arrays = arrays_of(raw, shapes, "an observation")
        words = ("expected", "dice", "appearance")
        pairs = {w: {str(k): float(v) for k, v in raw[w].items()} for w in words}
        plain: dict[str, Any] = {**arrays, **pairs}
        return cls(scan=str(raw["scan"]), whole=bool(raw["whole"]), **plain)

    @property
    def losses(self) -> np.ndarray:
        """Shares of wrong voxels `[1 + K, T]`, of all counted and of each leaf; NaN if none."""
        with np.errstate(invalid="ignore"):
            losses: np.ndarray = self.wrong / self.total[:, None]
        return losses


class Observer:
    """A `Watch` that compares the probabilities of one scan with its truth.

    If the label file assigns a set of leaves to a voxel, an answer is wrong if it is disjoint from
    that set. Unknown voxels do not count.
    """

    def __init__(
        self, chains: Chains, codebook: Codebook, truth: Callable[[Geometry], np.ndarray]
    ) -> None:
        self._chains, self._codebook, self._read = chains, codebook, truth
        self._needed = chains.needed(codebook.rows)
        self._depth = chains.depth[chains.places]  # [K, D]
        self._size = chains.members.sum(axis=1)[chains.places].astype(float)
        rows = chains.space.num_leaves + 1
        self.total, self.wrong = np.zeros(rows), np.zeros((rows, len(GRID)))
        self._lost, self._gained = np.zeros(len(GRID)), np.zeros(len(GRID))
        self.agreement = Agreement(chains.space)
        self.truth: np.ndarray | None = None
        self._left: np.ndarray | None = None

    def __call__(self, probabilities: Tensor, region: Region, geometry: Geometry) -> None:
        """Accumulate the counts of a region."""
        if self.truth is None or self._left is None:
            self.truth = self._read(geometry)
            self._left = self.truth != UNKNOWN
        flat = probabilities.flatten(1)
        leaves, doubts = self._chains.doubts(flat)
        self.agreement.add(leaves, flat)
        codes = self.truth[region].ravel()
        self._left[region] = False
        self._add(codes, leaves, doubts)

    def _add(self, codes: np.ndarray, leaves: np.ndarray, doubts: np.ndarray) -> None:
        counted = self._is_counted(codes, leaves)
        codes, leaves, doubts = codes[counted], leaves[counted], doubts[:, counted]
        self.total[0] += len(codes)
        for step in range(len(doubts) - 1):
            # Voxels with a doubt above the threshold are widened by this step.
            for sums, values in ((self._lost, self._depth), (self._gained, self._size)):
                change = (values[:, step + 1] - values[:, step])[leaves]
                sums += change.sum() - tally(doubts[step], change)
        step = self._needed[leaves, codes]
        missed = step > 0
        doubt = doubts[step[missed] - 1, np.flatnonzero(missed)]
        self.wrong[0] += tally(doubt)
        background = self._codebook.space.background
        for leaf in range(len(self.total) - 1):
            known = codes == leaf + 1  # the code of a single leaf
            self.total[leaf + 1] += known.sum()
            if leaf != background:
                self.wrong[leaf + 1] += tally(doubt[known[missed]])

    def _is_counted(self, codes: np.ndarray, leaves: np.ndarray) -> np.ndarray:
        background = self._codebook.space.background
        may_be_background = self._codebook.rows[codes, background]
        counted: np.ndarray = (codes != UNKNOWN) & ~(may_be_background & (leaves == background))
        return counted

    def observation(self, scan: str, dice: dict[str, float], found: Segmentation) -> Observation:
        """Return the observation of the scan, after all regions were accumulated."""
        assert self.truth is not None
        assert self._left is not None
        # Voxels outside of the cropped head count as background without doubt.
        codes = self.truth[self._left]
        if len(codes):
            leaves = np.full(len(codes), self._codebook.space.background)
            self._add(codes, leaves, np.zeros((self._chains.places.shape[1], len(codes))))
        count = max(self.total[0], 1)
        single = self._codebook.rows.sum(axis=1) == 1
        return Observation(
            scan=scan,
            whole=bool(single[np.unique(self.truth)].all()),
            total=self.total,
            wrong=self.wrong,
            depth=np.maximum(1 + self._lost / count, 0),  # rounding can give values below 0
            size=1 + self._gained / count,
            expected=self.agreement.expected,
            dice=dice,
            appearance=self.agreement.appearance(found),
        )
