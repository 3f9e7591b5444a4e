"""Contrasts of methods in a crossed design: draws and test subjects are both random samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import stats

from neoseg.evaluation.report.intervals import FEWEST, of_subjects

_ITERATIONS = 20


@dataclass(frozen=True)
class Estimate:
    """Normally distributed estimates with estimated variances, each `[m]`.

    Attributes:
        value: the estimate; NaN without data.
        variance: variance of the estimate; NaN for fewer than three subjects.
        freedom: degrees of freedom of the variance.
    """

    value: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper ends of the confidence interval."""
        half = stats.t.ppf((1 + level) / 2, self.freedom) * np.sqrt(self.variance)
        return self.value - half, self.value + half

    def above(self, bound: float) -> np.ndarray:
        """Return one-sided p-values against values of at most `bound`; NaN without variance."""
        distance = self.value - bound
        is_variable = self.variance > (1e-12 * np.abs(distance)) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(is_variable, distance / np.sqrt(self.variance), np.nan)
        return np.asarray(stats.t.sf(t, self.freedom))

    def below(self, bound: float) -> np.ndarray:
        """Return one-sided p-values against values of at least `bound`."""
        return np.asarray(1 - self.above(bound))

    def differs(self) -> np.ndarray:
        """Return two-sided p-values against 0, consistent with `interval`."""
        return np.asarray(2 * np.minimum(self.above(0.0), self.below(0.0)))


class Crossed:
    """Scores of arms on the same scans: each draw of an arm is tested on each subject.

    Arms with the same draws are compared draw by draw, because they share the annotated subjects;
    draws of other arms are independent. A scan counts for a quantity if every arm has a value in
    some draw; values missing in other draws are imputed from scan means and draw offsets.

    Attributes:
        methods: whether every arm has at least three draws, so that draws are a random sample too;
            otherwise contrasts compare the given networks, over subjects alone.
        subjects: `[m]`, number of subjects with values.
        scans: `[m]`, number of scans with values.
    """

    def __init__(
        self, tables: Sequence[np.ndarray], draws: Sequence[Sequence[str]], subjects: np.ndarray
    ) -> None:
        """Store the subject means of each arm's scores.

        Args:
            tables: scores of each arm `[draws, n, m]` for the same n scans and m quantities, NaN if
                missing; the number of draws may differ.
            draws: names of the draws of each arm.
            subjects: `[n]`, subject of each scan.
        """
        names, subject_of = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        common = np.logical_and.reduce([(~np.isnan(table)).any(axis=0) for table in tables])
        self.scans = common.sum(axis=0)
        self.draws = [tuple(names_of_arm) for names_of_arm in draws]
        self.methods = all(len(names_of_arm) >= FEWEST for names_of_arm in self.draws)
        self._arms, self._lacking = [], np.zeros(self.scans.shape)
        for table in tables:
            lacking = np.isnan(table) & common
            complete = _imputed(np.where(common, table, np.nan), lacking)
            self._lacking = self._lacking + lacking.sum(axis=(0, 1))
            averages = [of_subjects(draw, subject_of, len(names)) for draw in complete]
            self._arms.append(np.array([draw.table for draw in averages]))
        self.subjects, self._freedom = averages[0].count, averages[0].freedom

    def of_subjects(self, *factors: np.ndarray | float) -> np.ndarray:
        """Return the contrast of each subject `[subjects, m]`, averaged over draws."""
        means = (factor * a.mean(axis=0) for factor, a in zip(factors, self._arms, strict=True))
        return reduce(np.add, means)

    def contrast(self, *factors: np.ndarray | float) -> Estimate:
        """Estimate the sum of the arms' means over draws and scans, each times its factor `[m]`.

        The variance is that of a crossed design with random draws and subjects: the components of
        draws and of subjects, both clipped at 0, plus the residual. Its degrees of freedom are
        Satterthwaite's, corrected for few draws and subjects as a simulation showed to be needed
        (`experiments/statistics`): the draw component weighs more if draws are much fewer than
        subjects, since three draws may agree by chance, and so does the subject component of three
        subjects; the latter enters once with and once without the residual.
        """
        subject_means = self.of_subjects(*factors)
        count, subject_freedom = self.subjects, self._freedom
        with np.errstate(all="ignore"):
            value = np.nansum(subject_means, axis=0) / np.where(count, count, np.nan)
            total = np.nansum((subject_means - value) ** 2, axis=0) / (count - 1) / count
            if not self.methods:
                return Estimate(value, np.where(count >= FEWEST, total, np.nan), subject_freedom)
            residual, denominator, variance = np.zeros((3, *count.shape))
            groups = dict.fromkeys(self.draws)
            for names in groups:
                k = len(names)
                parts = zip(factors, self._arms, self.draws, strict=True)
                table = reduce(np.add, (f * arm for f, arm, draws in parts if draws == names))
                per_draw = np.nansum(table, axis=1) / count
                mean = per_draw.mean(axis=0)
                deviations = table - per_draw[:, None] - table.mean(axis=0) + mean
                noise_df = np.maximum((k - 1) * (count - 1) - self._lacking / len(self.draws), 1)
                noise = np.nansum(deviations**2, axis=(0, 1)) / noise_df / (k * count)
                excess = np.maximum(((per_draw - mean) ** 2).sum(axis=0) / (k - 1) / k - noise, 0)
                residual, variance = residual + noise, variance + excess
                correction = 1 + np.maximum(1 - k / count, 0) * (len(groups) == 1)
                denominator = denominator + correction * excess**2 / (k - 1) + noise**2 / noise_df
            excess = np.maximum(total - residual, 0)
            variance = variance + excess + residual
            correction = np.where(count > FEWEST, 1.0, 1.5)
            freedom = variance**2 / (denominator + correction * excess * total / subject_freedom)
        return Estimate(value, np.where(count >= FEWEST, variance, np.nan), freedom)

    def ratio(self, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (first - second) / (third - second) and Fieller's interval, each `[m]`.

        The interval contains the ratios g for which first - second - g (third - second) does not
        differ from 0. It has no ends (NaN) if third - second itself does not differ from 0.
        """
        part, whole = self.contrast(1, -1, 0), self.contrast(0, -1, 1)
        total, difference = self.contrast(1, -2, 1), self.contrast(1, 0, -1)
        with np.errstate(all="ignore"):
            share = part.value / whole.value
            t2 = stats.t.ppf((1 + level) / 2, self.contrast(1, share - 1, -share).freedom) ** 2
            covariance = (total.variance - difference.variance) / 4
            a = whole.value**2 - t2 * whole.variance
            b = part.value * whole.value - t2 * covariance
            c = part.value**2 - t2 * part.variance
            root = np.sqrt(np.maximum(b**2 - a * c, 0))
            low, high = (np.where(a > 0, (b + sign * root) / a, np.nan) for sign in (-1, 1))
        return share, low, high


def _imputed(table: np.ndarray, lacking: np.ndarray) -> np.ndarray:
    """Impute the `lacking` cells of `[draws, scans, m]` by scan mean plus draw offset, in-place."""
    columns = np.flatnonzero(lacking.any(axis=(0, 1)))
    cells, missing = table[..., columns], lacking[..., columns]
    for _ in range(_ITERATIONS if len(columns) else 0):
        present = ~np.isnan(cells)
        scan_means = np.nansum(cells, axis=0) / np.maximum(present.sum(axis=0), 1)
        draw_offsets = np.nansum(cells - scan_means, axis=1) / np.maximum(
            (present & ~missing).any(axis=0).sum(0), 1
        )
        cells = np.where(missing, scan_means + draw_offsets[:, None], cells)
    table[..., columns] = cells
    return table
