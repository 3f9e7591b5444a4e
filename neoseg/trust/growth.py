"""Volumes against age: what is usual at an age, and how far from that a scan is.

The logarithm of a volume is taken as normal, with a mean that bends with age (a natural cubic
spline) and a spread whose logarithm changes linearly, fitted together by maximum likelihood: the
LMS method (Cole and Green, Statistics in Medicine 1992) with L = 0, a location-scale model of
GAMLSS (Rigby and Stasinopoulos, Applied Statistics 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtri

FEWEST = 20
"""Scans from which a curve is learnt at least."""

AGES = 5
"""Different ages of theirs at least."""

KNOTS = (0.05, 0.5, 0.95)
"""Shares of the scans below the knots of the spline."""


@dataclass(frozen=True)
class Curve:
    """Usual volumes of a structure.

    Attributes:
        knots: weeks.
        low, high: weeks between which it was learnt; outside of them nothing is known.
        mean: of the logarithm of the volume in ml, by the functions of `_basis`.
        spread: of the logarithm of its standard deviation: level, and change over half of the ages.
        scans: how many it was learnt from.
    """

    knots: tuple[float, ...]
    low: float
    high: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    scans: int

    @classmethod
    def fit(cls, ages: Sequence[float], volumes: Sequence[float]) -> Self:
        """Learn a curve from weeks and ml, one each of every scan; all volumes are above 0.

        Raises:
            ValueError: too few scans, or hardly any ages.
        """
        weeks, logs = np.array(ages, dtype=float), np.log(np.array(volumes, dtype=float))
        if len(weeks) < FEWEST:
            raise ValueError(f"{len(weeks)} scans have it, and a curve needs {FEWEST}")
        knots = tuple(np.quantile(weeks, KNOTS).tolist())
        low, high = float(weeks.min()), float(weeks.max())
        different = len(np.unique(weeks))
        if min(np.diff(knots)) <= 0 or different < AGES:
            raise ValueError(
                f"its {len(weeks)} scans have {different} different ages from {low:g} to {high:g} "
                f"weeks, and a curve needs {AGES} at least, none of which most scans have"
            )
        blank = cls(knots, low, high, (), (), len(weeks))
        mean, spread = blank._basis(weeks)
        start = np.linalg.lstsq(mean, logs, rcond=None)[0]
        level = math.log(max(float(np.std(logs - mean @ start)), 1e-6))

        def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
            width = np.clip(spread @ values[len(start) :], -20, 20)
            z = (logs - mean @ values[: len(start)]) * np.exp(-width)
            slopes = np.concatenate([-(z * np.exp(-width)) @ mean, (1 - z * z) @ spread])
            return float((0.5 * z * z + width).mean()), slopes / len(z)

        found = minimize(cost, [*start, level, 0.0], jac=True, method="BFGS").x
        # Of the likelihood the spread is too small by the freedom that the mean has taken.
        found[len(start)] += 0.5 * math.log(len(weeks) / (len(weeks) - len(start)))
        means, spreads = found[: len(start)].tolist(), found[len(start) :].tolist()
        return cls(knots, low, high, tuple(means), tuple(spreads), len(weeks))

    def plain(self) -> dict[str, Any]:
        """Return plain containers."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Undo `plain`; raises `ValueError`, `KeyError` or `TypeError` for what it never gives."""
        names, sizes = ("knots", "mean", "spread"), (len(KNOTS), len(KNOTS), 2)
        rows = [tuple(map(float, raw[name])) for name in names]
        low, high, scans = float(raw["low"]), float(raw["high"]), int(raw["scans"])
        if [len(row) for row in rows] != list(sizes) or min(np.diff(rows[0])) <= 0:
            raise ValueError("it is no curve")
        return cls(rows[0], low, high, rows[1], rows[2], scans)

    def at(self, age: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the logarithm of the volume at ages in weeks."""
        mean, spread = self._basis(np.atleast_1d(age))
        return mean @ np.array(self.mean), np.exp(spread @ np.array(self.spread))

    def z(self, age: float, volume: float) -> float:
        """Return by how many deviations a volume (ml) is above what is usual.

        NaN at ages at which nothing was learnt, and where there is none of the structure.
        """
        if not (self.low <= age <= self.high and volume > 0):
            return math.nan
        mean, width = self.at(age)
        return float((math.log(volume) - mean[0]) / width[0])

    def centile(self, age: float | np.ndarray, percent: float) -> np.ndarray:
        """Return the volumes (ml) below which `percent` of the scans of these ages lie."""
        mean, width = self.at(age)
        found: np.ndarray = np.exp(mean + width * ndtri(percent / 100))
        return found

    def _basis(self, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the functions of the mean `[N, 3]` and of the spread `[N, 2]`.

        Beyond the outer knots a natural spline is straight.
        """
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        x, (a, b, c) = (age - middle) / half, ((np.array(self.knots) - middle) / half).tolist()

        def bent(knot: float) -> np.ndarray:
            cubes = np.maximum(x - knot, 0) ** 3 - np.maximum(x - c, 0) ** 3
            part: np.ndarray = cubes / (c - knot)
            return part

        one = np.ones_like(x)
        return np.stack([one, x, bent(a) - bent(b)], axis=1), np.stack([one, x], axis=1)
