"""Contrasts of methods, of which both the draws and the test subjects are a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import stats

from neoseg.evaluation.report.intervals import FEWEST, of_subjects

_STEPS = 20


@dataclass(frozen=True)
class Estimate:
    """Numbers that are normally distributed around what they estimate, each `[m]`.

    Attributes:
        value: NaN where there is none.
        variance: estimated; NaN for fewer than three subjects.
        freedom: degrees of freedom of the variance.
    """

    value: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends."""
        half = stats.t.ppf((1 + level) / 2, self.freedom) * np.sqrt(self.variance)
        return self.value - half, self.value + half

    def above(self, bound: float) -> np.ndarray:
        """Return the one-sided p-values against values of at most `bound`; NaN if none varies."""
        distance = self.value - bound
        varies = self.variance > (1e-12 * np.abs(distance)) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(varies, distance / np.sqrt(self.variance), np.nan)
        return np.asarray(stats.t.sf(t, self.freedom))

    def below(self, bound: float) -> np.ndarray:
        """Return the one-sided p-values against values of at least `bound`."""
        return np.asarray(1 - self.above(bound))

    def differs(self) -> np.ndarray:
        """Return the two-sided p-values against 0; they agree with `interval`."""
        return np.asarray(2 * np.minimum(self.above(0.0), self.below(0.0)))


class Crossed:
    """Some arms on the same scans: each draw of an arm is tested on each subject.

    Arms with the same draws are compared draw by draw, as they share whom the draw has annotated;
    other arms' draws are independent. A scan counts for a quantity where every arm has a value; a
    draw that lacks it there is given what the scan and the draw are elsewhere.

    Attributes:
        methods: whether draws are a sample too (three or more of every arm); if not, contrasts are
            of these very networks, over subjects alone.
        subjects: `[m]`, how many have values.
        scans: `[m]`.
    """

    def __init__(
        self, tables: Sequence[np.ndarray], draws: Sequence[Sequence[str]], subjects: np.ndarray
    ) -> None:
        """Take the scores of each arm `[its draws, n, m]`, NaN where there is none.

        Args:
            tables: of the arms, with the same scans and quantities.
            draws: names of the draws of each arm.
            subjects: `[n]`, whose scan each is.
        """
        names, place = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        common = np.logical_and.reduce([(~np.isnan(table)).any(axis=0) for table in tables])
        self.scans = common.sum(axis=0)
        self.draws = [tuple(own) for own in draws]
        self.methods = all(len(own) >= FEWEST for own in self.draws)
        self._arms, self._lacking = [], np.zeros(self.scans.shape)
        for table in tables:
            lacking = np.isnan(table) & common
            whole = _filled(np.where(common, table, np.nan), lacking)
            self._lacking = self._lacking + lacking.sum(axis=(0, 1))
            found = [of_subjects(draw, place, len(names)) for draw in whole]
            self._arms.append(np.array([draw.table for draw in found]))
        self.subjects, self._freedom = found[0].count, found[0].freedom

    def of_subjects(self, *factors: np.ndarray | float) -> np.ndarray:
        """Return the contrast of each subject `[subjects, m]`, over draws."""
        means = (factor * a.mean(axis=0) for factor, a in zip(factors, self._arms, strict=True))
        return reduce(np.add, means)

    def contrast(self, *factors: np.ndarray | float) -> Estimate:
        """Estimate the sum of the arms' means over draws and scans, each times its factor `[m]`.

        The variance is that of a crossed layout with random draws and subjects: the parts of
        draws and of subjects, neither below 0, and the rest. Its degrees of freedom are
        Satterthwaite's, changed for few draws and subjects as a simulation has shown to be needed
        (`experiments/statistics`): draws that are much fewer than subjects count more, since
        three that happen to agree say little, and so do three subjects; the part of subjects is
        taken with and without the rest.
        """
        of_subject = self.of_subjects(*factors)
        count, free_subjects = self.subjects, self._freedom
        with np.errstate(all="ignore"):
            value = np.nansum(of_subject, axis=0) / np.where(count, count, np.nan)
            whole = np.nansum((of_subject - value) ** 2, axis=0) / (count - 1) / count
            if not self.methods:
                return Estimate(value, np.where(count >= FEWEST, whole, np.nan), free_subjects)
            rest, below, variance = np.zeros((3, *count.shape))
            groups = dict.fromkeys(self.draws)
            for own in groups:
                k = len(own)
                parts = zip(factors, self._arms, self.draws, strict=True)
                table = reduce(np.add, (f * arm for f, arm, draws in parts if draws == own))
                of_draw = np.nansum(table, axis=1) / count
                mean = of_draw.mean(axis=0)
                away = table - of_draw[:, None] - table.mean(axis=0) + mean
                free = np.maximum((k - 1) * (count - 1) - self._lacking / len(self.draws), 1)
                noise = np.nansum(away**2, axis=(0, 1)) / free / (k * count)
                part = np.maximum(((of_draw - mean) ** 2).sum(axis=0) / (k - 1) / k - noise, 0)
                rest, variance = rest + noise, variance + part
                few = 1 + np.maximum(1 - k / count, 0) * (len(groups) == 1)
                below = below + few * part**2 / (k - 1) + noise**2 / free
            part = np.maximum(whole - rest, 0)
            variance = variance + part + rest
            few = np.where(count > FEWEST, 1.0, 1.5)
            freedom = variance**2 / (below + few * part * whole / free_subjects)
        return Estimate(value, np.where(count >= FEWEST, variance, np.nan), freedom)

    def ratio(self, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (first - second) / (third - second) and Fieller's interval, each `[m]`.

        The interval holds the shares g for which first - second - g (third - second) may be 0. It
        has no ends (NaN) where third - second may be 0 itself.
        """
        part, whole = self.contrast(1, -1, 0), self.contrast(0, -1, 1)
        both, apart = self.contrast(1, -2, 1), self.contrast(1, 0, -1)
        with np.errstate(all="ignore"):
            share = part.value / whole.value
            t2 = stats.t.ppf((1 + level) / 2, self.contrast(1, share - 1, -share).freedom) ** 2
            common = (both.variance - apart.variance) / 4
            a = whole.value**2 - t2 * whole.variance
            b = part.value * whole.value - t2 * common
            c = part.value**2 - t2 * part.variance
            root = np.sqrt(np.maximum(b**2 - a * c, 0))
            low, high = (np.where(a > 0, (b + sign * root) / a, np.nan) for sign in (-1, 1))
        return share, low, high


def _filled(table: np.ndarray, lacking: np.ndarray) -> np.ndarray:
    """Put into some cells of `[draws, scans, m]` what their scan and their draw are elsewhere."""
    columns = np.flatnonzero(lacking.any(axis=(0, 1)))
    part, where = table[..., columns], lacking[..., columns]
    for _ in range(_STEPS if len(columns) else 0):
        given = ~np.isnan(part)
        scan = np.nansum(part, axis=0) / np.maximum(given.sum(axis=0), 1)
        away = np.nansum(part - scan, axis=1) / np.maximum((given & ~where).any(axis=0).sum(0), 1)
        part = np.where(where, scan + away[:, None], part)
    table[..., columns] = part
    return table
