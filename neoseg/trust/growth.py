"""Growth curves: the usual volumes of structures at an age, and a scan's deviation from them.

The logarithm of a volume is modelled as normal, with a natural cubic spline of age as mean and a
standard deviation whose logarithm is linear in age, fitted together by maximum likelihood: the LMS
method (Cole and Green, Statistics in Medicine 1992) with L = 0, a location-scale model of GAMLSS
(Rigby and Stasinopoulos, Applied Statistics 2005).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtri

FEWEST = 20
"""Minimum number of scans to fit a curve."""

MIN_AGES = 5
"""Minimum number of distinct ages of the scans."""

KNOTS = (0.05, 0.5, 0.95)
"""Quantiles of the ages at which the spline has its knots."""


@dataclass(frozen=True)
class Curve:
    """Growth curve of a structure's volume.

    Attributes:
        knots: knots of the spline, weeks.
        low, high: range of ages in the data, weeks.
        mean: coefficients of the mean log volume (ml) in the basis of `_basis`.
        spread: coefficients of the log standard deviation: level at the middle of the age range,
            and change over half of it.
        scans: number of scans in the data.
    """

    knots: tuple[float, ...]
    low: float
    high: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    scans: int

    @classmethod
    def fit(cls, ages: Sequence[float], volumes: Sequence[float]) -> Self:
        """Fit a curve to ages (weeks) and volumes (ml, above 0), one pair per scan.

        Raises:
            ValueError: if there are too few scans or distinct ages.
        """
        weeks, logs = np.array(ages, dtype=float), np.log(np.array(volumes, dtype=float))
        if len(weeks) < FEWEST:
            raise ValueError(f"{len(weeks)} scans have it, and a curve needs {FEWEST}")
        knots = tuple(np.quantile(weeks, KNOTS).tolist())
        low, high = float(weeks.min()), float(weeks.max())
        num_ages = len(np.unique(weeks))
        if min(np.diff(knots)) <= 0 or num_ages < MIN_AGES:
            raise ValueError(
                f"its {len(weeks)} scans have {num_ages} different ages from {low:g} to {high:g} "
                f"weeks, and a curve needs {MIN_AGES} at least, none of which most scans have"
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

        solution = minimize(cost, [*start, level, 0.0], jac=True, method="BFGS").x
        # Maximum likelihood underestimates the spread; correct for the mean's degrees of freedom.
        solution[len(start)] += 0.5 * math.log(len(weeks) / (len(weeks) - len(start)))
        means, spreads = solution[: len(start)].tolist(), solution[len(start) :].tolist()
        return cls(knots, low, high, tuple(means), tuple(spreads), len(weeks))

    def plain(self) -> dict[str, Any]:
        """Convert to plain containers."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Invert `plain`; raises `ValueError`, `KeyError` or `TypeError` for invalid content."""
        names, sizes = ("knots", "mean", "spread"), (len(KNOTS), len(KNOTS), 2)
        rows = [tuple(map(float, raw[name])) for name in names]
        low, high, scans = float(raw["low"]), float(raw["high"]), int(raw["scans"])
        if [len(row) for row in rows] != list(sizes) or min(np.diff(rows[0])) <= 0:
            raise ValueError("it is no curve")
        return cls(rows[0], low, high, rows[1], rows[2], scans)

    def at(self, age: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the log volume at ages in weeks."""
        mean, spread = self._basis(np.atleast_1d(age))
        return mean @ np.array(self.mean), np.exp(spread @ np.array(self.spread))

    def z(self, age: float, volume: float) -> float:
        """Return the z-score of a volume (ml) at an age (weeks).

        NaN outside of the ages in the data, and for a volume of 0.
        """
        if not (self.low <= age <= self.high and volume > 0):
            return math.nan
        mean, width = self.at(age)
        return float((math.log(volume) - mean[0]) / width[0])

    def centile(self, age: float | np.ndarray, percent: float) -> np.ndarray:
        """Return the volumes (ml) at the given percentile for ages in weeks."""
        mean, width = self.at(age)
        volumes: np.ndarray = np.exp(mean + width * ndtri(percent / 100))
        return volumes

    def _basis(self, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the basis functions of the mean `[N, 3]` and of the spread `[N, 2]`.

        The natural spline of the mean is linear beyond the outer knots.
        """
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        x, (a, b, c) = (age - middle) / half, ((np.array(self.knots) - middle) / half).tolist()

        def cubic(knot: float) -> np.ndarray:
            cubes = np.maximum(x - knot, 0) ** 3 - np.maximum(x - c, 0) ** 3
            spline: np.ndarray = cubes / (c - knot)
            return spline

        ones = np.ones_like(x)
        return np.stack([ones, x, cubic(a) - cubic(b)], axis=1), np.stack([ones, x], axis=1)
