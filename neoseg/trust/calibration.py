"""From observed scans to what may be promised of the next one."""

from __future__ import annotations

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
"""Of what a share of right voxels is promised: of a scan's, or of those of each structure, too."""

ALIKE = 0.05
"""p-value up to which a scan is said to be unlike those observed."""

Appearance = Mapping[str, float]


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
    """What scans told on which networks were observed that were not trained on them.

    It names none of them, and is all that a promise needs.

    Attributes:
        scans: how many there are.
        known: `[1 + K]`: of these, those with voxels that count, and with each leaf.
        losses: `[1 + K, T]`, their shares of wrong voxels at each threshold, summed over scans.
        depth, size: `[T]`, of the mean answer; means over scans.
        dice: expected and true Dice of each class (and of `SCAN`) on the scans with both.
        appearances: of each scan.
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
        """Sum up one scan or more."""
        losses = np.stack([o.losses for o in seen])
        dice: dict[str, list[tuple[float, float]]] = {}
        for one in seen:
            true = with_mean(one.dice, space)
            for name, expected in with_mean(one.expected, space).items():
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
        """Return plain containers, without the space."""
        found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}
        return {key: value for key, value in found.items() if key != "space"}

    @classmethod
    def from_plain(cls, space: LabelSpace, raw: Any) -> Self:
        """Undo `plain`; raises `ValueError`, `KeyError` or `TypeError` for what it never gives."""
        rows, grid = space.num_leaves + 1, len(GRID)
        shapes = {"known": (rows,), "losses": (rows, grid), "depth": (grid,), "size": (grid,)}
        known, losses, depth, size = arrays_of(raw, shapes, "a calibration").values()
        pairs = {str(k): [(float(a), float(b)) for a, b in v] for k, v in raw["dice"].items()}
        looks = [{str(k): float(v) for k, v in look.items()} for look in raw["appearances"]]
        return cls(space, int(raw["scans"]), known, losses, depth, size, pairs, looks)

    def limits(self, level: float, promise: Promise = "scan") -> Limits | None:
        """Return the doubts that keep a promise of `level`, the expected share of right voxels.

        None where there are too few scans for it.
        """
        alpha = 1 - level
        place = choose(self.losses[0], int(self.known[0]), alpha)
        if place is None:
            return None
        doubts = np.full(self.space.num_leaves, GRID[place])
        unpromised = []
        for leaf, row in enumerate(self.space.leaves):
            if promise == "structure" and leaf != self.space.background:
                own = choose(self.losses[leaf + 1], int(self.known[leaf + 1]), alpha)
                if own is None:
                    unpromised.append(row.abbreviation)
                else:  # the smaller doubt keeps both promises
                    doubts[leaf] = min(doubts[leaf], GRID[own])
        return Limits(doubts, place, tuple(unpromised))

    def needs(self, level: float) -> int:
        """Return how many scans a promise of `level` needs at least."""
        return scans_needed(1 - level)

    def predicted(
        self, name: str, expected: float, level: float
    ) -> tuple[float, float, float] | None:
        """Return the Dice to expect of a class and an interval that holds it in a share `level`.

        The differences of true from expected Dice on the observed scans are exchangeable with the
        next one: between the two of them at both ends that leave (1 - level) / 2 outside, each, it
        lies with at least that probability. None where there are too few scans.
        """
        pairs = np.reshape(self.dice.get(name, ()), (-1, 2))
        away = np.sort(pairs[:, 1] - pairs[:, 0])
        low = math.floor((len(away) + 1) * (1 - level) / 2 + 1e-9)
        if low < 1:
            return None
        inside = np.clip(expected + np.array([np.median(away), away[low - 1], away[-low]]), 0, 1)
        middle, bottom, top = inside.tolist()
        return middle, bottom, top

    def likeness(self, appearance: Appearance) -> tuple[float, str]:
        """Return the p-value of a scan among those observed, and in what it differs most."""
        return unlikeness(self.appearances, appearance)
