"""Calibrate promises about the next scan on observed scans."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from neoseg.labels import LabelSpace
from neoseg.trust.agreement import with_mean
from neoseg.trust.appearance import unlikeness
from neoseg.trust.observation import Observation, arrays_of
from neoseg.trust.risk import GRID, choose, scans_needed

Promise = Literal["scan", "structure"]
"""Scope of the promised share of correct voxels: the whole scan, or each structure as well."""

ALIKE = 0.05
"""Maximum p-value at which a scan is reported as unlike the observed ones."""

Appearance = Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """The maximum doubt that keeps a promise.

    Attributes:
        doubts: `[K]`, maximum doubt for each leaf that an answer could miss.
        place: index in `GRID` of the maximum doubt for the whole scan.
        open: abbreviations of the structures without a promise, because too few scans have them.
    """

    doubts: np.ndarray
    place: int
    open: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """Summary of observations on scans that the networks were not trained on.

    It is sufficient for all promises and contains no ids of scans.

    Attributes:
        space: label space of the K leaves.
        scans: number of scans.
        known: `[1 + K]`, number of scans with counted voxels, then with voxels of each leaf.
        losses: `[1 + K, T]`, shares of wrong voxels at each threshold, summed over scans.
        depth, size: `[T]`, mean depth and number of leaves of the answers, averaged over scans.
        dice: class (or `SCAN`) -> pairs of expected and true Dice, of the scans with both.
        appearances: appearance of each scan.
    """

    space: LabelSpace
    scans: int
    known: np.ndarray
    losses: np.ndarray
    depth: np.ndarray
    size: np.ndarray
    dice: Mapping[str, Sequence[tuple[float, float]]]
    appearances: Sequence[Appearance]

    @classmethod
    def of(cls, space: LabelSpace, seen: Sequence[Observation]) -> Self:
        """Summarise the observations of at least one scan."""
        losses = np.stack([o.losses for o in seen])
        dice: dict[str, list[tuple[float, float]]] = {}
        for observation in seen:
            true = with_mean(observation.dice, space)
            for name, expected in with_mean(observation.expected, space).items():
                if name in true:
                    dice.setdefault(name, []).append((expected, true[name]))
        return cls(
            space,
            len(seen),
            np.isfinite(losses[:, :, 0]).sum(axis=0),
            np.nansum(losses, axis=0),
            np.mean([o.depth for o in seen], axis=0),
            np.mean([o.size for o in seen], axis=0),
            dice,
            [o.appearance for o in seen],
        )

    def plain(self) -> dict[str, Any]:
        """Convert to plain containers, without the space."""
        content = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}
        return {key: value for key, value in content.items() if key != "space"}

    @classmethod
    def from_plain(cls, space: LabelSpace, raw: Any) -> Self:
        """Invert `plain`; raises `ValueError`, `KeyError` or `TypeError` for invalid content."""
        rows, grid = space.num_leaves + 1, len(GRID)
        shapes = {"known": (rows,), "losses": (rows, grid), "depth": (grid,), "size": (grid,)}
        known, losses, depth, size = arrays_of(raw, shapes, "a calibration").values()
        pairs = {str(k): [(float(a), float(b)) for a, b in v] for k, v in raw["dice"].items()}
        appearances = [
            {str(k): float(v) for k, v in appearance.items()} for appearance in raw["appearances"]
        ]
        return cls(space, int(raw["scans"]), known, losses, depth, size, pairs, appearances)

    def limits(self, level: float, promise: Promise = "scan") -> Limits | None:
        """Return the maximum doubts for an expected share `level` of correct voxels.

        Returns None if there are too few scans.
        """
        alpha = 1 - level
        place = choose(self.losses[0], int(self.known[0]), alpha)
        if place is None:
            return None
        doubts = np.full(self.space.num_leaves, GRID[place])
        unpromised = []
        for leaf, structure in enumerate(self.space.leaves):
            if promise == "structure" and leaf != self.space.background:
                index = choose(self.losses[leaf + 1], int(self.known[leaf + 1]), alpha)
                if index is None:
                    unpromised.append(structure.abbreviation)
                else:  # the smaller of the two limits keeps both promises
                    doubts[leaf] = min(doubts[leaf], GRID[index])
        return Limits(doubts, place, tuple(unpromised))

    def needs(self, level: float) -> int:
        """Return the minimum number of scans for a promise of `level`."""
        return scans_needed(1 - level)

    def predicted(
        self, name: str, expected: float, level: float
    ) -> tuple[float, float, float] | None:
        """Return the corrected Dice of a class, and low and high ends of an interval for the true.

        The errors (true minus expected Dice) of the observed scans are exchangeable with that of
        the next scan, so it is between the order statistics that leave (1 - level) / 2 outside at
        each end with a probability of at least `level`. Returns None if there are too few scans.
        """
        pairs = np.reshape(self.dice.get(name, ()), (-1, 2))
        errors = np.sort(pairs[:, 1] - pairs[:, 0])
        low = math.floor((len(errors) + 1) * (1 - level) / 2 + 1e-9)
        if low < 1:
            return None
        inside = np.clip(
            expected + np.array([np.median(errors), errors[low - 1], errors[-low]]), 0, 1
        )
        middle, bottom, top = inside.tolist()
        return middle, bottom, top

    def likeness(self, appearance: Appearance) -> tuple[float, str]:
        """Return the p-value of a scan among those observed, and the trait that differs most."""
        return unlikeness(self.appearances, appearance)
