"""From observed scans to what may be promised of the next one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neoseg.labels import LabelSpace
from neoseg.trust.appearance import unlikeness
from neoseg.trust.observation import Observation
from neoseg.trust.risk import GRID, choose, scans_needed

Promise = Literal["scan", "structure"]
"""Of what a share of right voxels is promised: of a scan's, or of those of each structure, too."""

SCAN = "scan"
"""The mean over the structures of a scan, among the names of classes."""


@dataclass(frozen=True)
class Limits:
    """The doubt that may be left for a promise.

    Attributes:
        doubts: `[K]`: for each leaf that the answer could miss.
        place: in `GRID`, of that of a scan.
        open: abbreviations of the structures for which nothing is promised: too few scans have
            them.
    """

    doubts: np.ndarray
    place: int
    open: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """Scans on which networks were observed that segment together, and were not trained on them."""

    space: LabelSpace
    scans: tuple[Observation, ...]

    def limits(self, level: float, promise: Promise = "scan") -> Limits | None:
        """Return the doubts that keep a promise of `level`, the expected share of right voxels.

        None where there are too few scans for it.
        """
        alpha = 1 - level
        losses = np.stack([o.losses for o in self.scans]) if self.scans else np.zeros((0, 1, 1))
        known = np.isfinite(losses.sum(axis=2))
        place = choose(losses[known[:, 0], 0], alpha) if len(losses) else None
        if place is None:
            return None
        doubts = np.full(self.space.num_leaves, GRID[place])
        unpromised = []
        for leaf, row in enumerate(self.space.leaves):
            if promise == "structure" and leaf != self.space.background:
                own = choose(losses[known[:, leaf + 1], leaf + 1], alpha)
                if own is None:
                    unpromised.append(row.abbreviation)
                else:  # the smaller doubt keeps both promises
                    doubts[leaf] = min(doubts[leaf], GRID[own])
        return Limits(doubts, place, tuple(unpromised))

    def needs(self, level: float) -> int:
        """Return how many scans a promise of `level` needs at least."""
        return scans_needed(1 - level)

    def pairs(self, name: str) -> np.ndarray:
        """Return expected and true Dice of a class (or `SCAN`) on the scans with both, `[n, 2]`."""
        leaves = [row.abbreviation for row in self.space.leaves]
        rows = [(with_mean(o.expected, leaves), with_mean(o.dice, leaves)) for o in self.scans]
        found = [(e[name], d[name]) for e, d in rows if name in e and name in d]
        return np.array(found).reshape(-1, 2)

    def predicted(
        self, name: str, expected: float, level: float
    ) -> tuple[float, float, float] | None:
        """Return the Dice to expect of a class and an interval that holds it in a share `level`.

        The differences of true from expected Dice on the observed scans are exchangeable with the
        next one: between the two of them at both ends that leave (1 - level) / 2 outside, each, it
        lies with at least that probability. None where there are too few scans.
        """
        pairs = self.pairs(name)
        away = np.sort(pairs[:, 1] - pairs[:, 0])
        low = math.floor((len(away) + 1) * (1 - level) / 2 + 1e-9)
        if low < 1:
            return None
        inside = np.clip(expected + np.array([np.median(away), away[low - 1], away[-low]]), 0, 1)
        middle, bottom, top = inside.tolist()
        return middle, bottom, top

    def likeness(self, appearance: Mapping[str, float]) -> tuple[float, str]:
        """Return the p-value of a scan among those observed, and in what it differs most."""
        return unlikeness([o.appearance for o in self.scans], appearance)


def with_mean(values: Mapping[str, float], leaves: Sequence[str]) -> dict[str, float]:
    """Return values by class, with their mean over the structures that have one as `SCAN`.

    `leaves` are all abbreviations; the background's has no Dice and is never among the values.
    """
    own = [values[name] for name in leaves if name in values]
    return {**values, **({SCAN: float(np.mean(own))} if own else {})}
