"""The Dice that more annotations should bring, learnt from trainings with different ones.

The mean Dice of a training is taken as normal about `top - span * A ** -rate`, a power law as
learning curves of networks have (Hestness et al. 2017, arXiv:1712.00409), where A counts full
annotations and, each by its worth between 0 and 1, coarser ones. Its spread falls with what is left
to gain, to a fifth. All that fits is kept, by how well it does: the parameters are sampled from
their posterior, so that few trainings give wide intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

FEWEST = 4
"""Trainings from which a curve is learnt at least, and amounts of labels (one less)."""

_RATE = (0.1, 1.5)
_NOISE = (-7.0, -3.0)
"""Natural logarithm of the standard deviation of Dice with the fewest labels: .001 to .05."""

_STEADY = 0.2
"""Share of that deviation that no labels take away."""

_BETA = np.array([0.85, -0.3])
_BETA_WIDE = np.array([0.3, 0.5])
"""Where top and minus span are looked for: mean and standard deviation."""

_LEAST = 1e-3
"""Full annotations: what labels are worth at least, so that a power of it is finite."""

_PARTICLES, _STAGES, _MOVES = 2000, 24, 4


@dataclass(frozen=True)
class LearningCurve:
    """Curves that fit, all alike likely.

    Attributes:
        depths: names of the depths of annotation; the first one is full.
        worth: `[P, D]`, of an annotation in full ones; the first column is 1.
        rate, top, span, noise: `[P]` each; the noise is that of a training with `fewest`.
        fewest: `[P]`, what the fewest labels of the trainings are worth in full annotations.
    """

    depths: tuple[str, ...]
    worth: np.ndarray
    rate: np.ndarray
    top: np.ndarray
    span: np.ndarray
    noise: np.ndarray
    fewest: np.ndarray

    @classmethod
    def fit(cls, depths: tuple[str, ...], counts: np.ndarray, dice: np.ndarray) -> Self:
        """Learn from N trainings.

        Args:
            depths: names, full first.
            counts: `[N, D]`, scans that were annotated so; at least one in each row.
            dice: `[N]`, of the same test scans in all, 0 to 1.

        Raises:
            ValueError: too few, or Dice does not rise with labels.
        """
        amounts = len(np.unique(counts, axis=0))
        if len(dice) < FEWEST or amounts < FEWEST - 1:
            raise ValueError(
                f"{len(dice)} trainings with {amounts} different amounts of labels; a curve needs "
                f"{FEWEST} with {FEWEST - 1}"
            )
        chance = np.random.default_rng(0)
        low = np.array([_RATE[0], _NOISE[0], *([0.0] * (len(depths) - 1))])
        high = np.array([_RATE[1], _NOISE[1], *([1.0] * (len(depths) - 1))])
        found = chance.uniform(low, high, (_PARTICLES, len(low)))
        fit = _evidence(found, counts, dice)
        # From the prior to the posterior in stages, each resampled and then moved about.
        stages = np.linspace(0, 1, _STAGES + 1) ** 3
        for before, stage in pairwise(stages):
            weights = np.exp((stage - before) * (fit - fit.max()))
            taken = chance.choice(_PARTICLES, _PARTICLES, p=weights / weights.sum())
            found, fit = found[taken], fit[taken]
            spread = np.cov(found.T) * 2.4**2 / len(low) + 1e-12 * np.eye(len(low))
            for _ in range(_MOVES):
                tried = found + chance.multivariate_normal(0 * low, spread, _PARTICLES)
                inside = ((tried >= low) & (tried <= high)).all(axis=1)
                level = np.full(_PARTICLES, -np.inf)
                level[inside] = _evidence(tried[inside], counts, dice)
                better = np.log(chance.uniform(size=_PARTICLES)) < stage * (level - fit)
                found[better], fit[better] = tried[better], level[better]
        mean, factor = _beta(found, counts, dice)
        line = mean + np.einsum("pij,pj->pi", factor, chance.standard_normal(mean.shape))
        fits = (line[:, 0] <= 1) & (line[:, 1] <= 0)
        if fits.mean() < 0.02:
            raise ValueError("the Dice of these trainings does not rise with their labels")
        found, line = found[fits], line[fits]
        worth = _worth(found)
        fewest = np.maximum(worth @ counts.T, _LEAST).min(axis=1)
        noise = np.exp(found[:, 1])
        return cls(depths, worth, found[:, 0], line[:, 0], -line[:, 1], noise, fewest)

    def predict(self, counts: np.ndarray, level: float = 0.95) -> np.ndarray:
        """Return the median, low and high `[M, 3]` of the Dice of one more training each.

        Args:
            counts: `[M, D]`.
            level: share of trainings between low and high.
        """
        chance = np.random.default_rng(1)
        amount, rate = self.amount(counts), self.rate[:, None]
        share = np.minimum((amount / self.fewest[:, None]) ** -rate, 1)
        spread = self.noise[:, None] * _share_of_noise(share)
        dice = self._mean(amount) + spread * chance.standard_normal((len(rate), 1))
        return _cuts(dice, level).clip(0, 1)

    def gain(self, counts: np.ndarray, now: np.ndarray, level: float = 0.95) -> np.ndarray:
        """Return the median, low and high `[M, 3]` of what the mean of many trainings rises by.

        Args:
            counts: `[M, D]`, compared with
            now: `[D]`.
            level: probability that it lies between low and high.
        """
        before = self._mean(self.amount(now[None]))
        return _cuts(self._mean(self.amount(counts)) - before, level)

    def _mean(self, amount: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.top[:, None] - self.span[:, None] * amount ** -self.rate[:, None]
        return found

    def amount(self, counts: np.ndarray) -> np.ndarray:
        """Return how many full annotations counts `[M, D]` are worth, `[P, M]`."""
        found: np.ndarray = np.maximum(self.worth @ counts.T, _LEAST)
        return found


def _cuts(values: np.ndarray, level: float) -> np.ndarray:
    found: np.ndarray = np.quantile(values, (0.5, 0.5 - level / 2, 0.5 + level / 2), axis=0).T
    return found


def _share_of_noise(share: np.ndarray) -> np.ndarray:
    """Of the share of the span that is left to gain, 1 with the fewest labels."""
    found: np.ndarray = _STEADY + (1 - _STEADY) * share
    return found


def _worth(found: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(found), 1)), found[:, 2:]], axis=1)


def _beta(found: np.ndarray, counts: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean `[P, 2]`, and a factor `[P, 2, 2]` of the covariance, of top and minus span."""
    precision, right, _ = _normal(found, counts, dice)
    mean = np.linalg.solve(precision, right[..., None])[..., 0]
    return mean, np.linalg.cholesky(np.linalg.inv(precision))


def _normal(
    found: np.ndarray, counts: np.ndarray, dice: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision `[P, 2, 2]` and right side `[P, 2]` of the line; deviations `[P, N]`."""
    amount = np.maximum(_worth(found) @ counts.T, _LEAST)
    columns = np.stack([np.ones_like(amount), amount ** -found[:, :1]], axis=2)  # [P, N, 2]
    share = columns[..., 1] / columns[..., 1].max(axis=1, keepdims=True)
    spread = np.exp(found[:, 1:2]) * _share_of_noise(share)
    columns /= spread[..., None]
    precision = np.einsum("pni,pnj->pij", columns, columns)
    right = np.einsum("pni,pn->pi", columns, dice / spread)
    return precision + np.diag(_BETA_WIDE**-2.0), right + _BETA * _BETA_WIDE**-2.0, spread


def _evidence(found: np.ndarray, counts: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Return the log probability `[P]` of the Dice, top and span integrated out, and a constant."""
    precision, right, spread = _normal(found, counts, dice)
    mean = np.linalg.solve(precision, right[..., None])[..., 0]
    _, volume = np.linalg.slogdet(precision)
    rest = ((dice / spread) ** 2).sum(axis=1) - (mean * right).sum(axis=1)
    evidence: np.ndarray = -np.log(spread).sum(axis=1) - 0.5 * rest - 0.5 * volume
    return evidence
