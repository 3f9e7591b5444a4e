"""Learning curves: predict the Dice with more annotations from trainings with different amounts.

The mean Dice of a training is modelled as normal about `top - span * A ** -rate`, the power law of
learning curves of networks (Hestness et al. 2017, arXiv:1712.00409). A counts full annotations, and
coarser ones weighted by their worth between 0 and 1. The standard deviation is the same everywhere.
The parameters are sampled from their posterior (sequential Monte Carlo), so few trainings give wide
intervals (`experiments/annotation_plan` counts how often they hold).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

MIN_TRAININGS = 4
"""Minimum number of trainings to fit a curve; one less is the minimum of distinct label counts."""

_RATE_RANGE = (0.1, 1.5)
_LOG_NOISE_RANGE = (-7.0, -2.0)
"""Prior ranges of the rate, and of the natural logarithm of the standard deviation of Dice (.001 to
.14)."""

_BETA_MEAN = np.array([0.85, -0.3])
_BETA_STD = np.array([0.3, 0.5])
"""Prior mean and standard deviation of top and minus span."""

_MIN_WORTH = 1e-3
"""Minimum worth of labels in full annotations, which keeps its powers finite."""

_PARTICLES, _STAGES, _MOVES = 2000, 24, 4


@dataclass(frozen=True)
class LearningCurve:
    """Learning curves sampled from the posterior, all with equal weight.

    Attributes:
        depths: names of the D depths of annotation, full first.
        worth: `[P, D]`, worth of an annotation in full annotations; the first column is 1.
        rate, top, span, noise: `[P]` each; `noise` is the standard deviation of a training's Dice.
    """

    depths: tuple[str, ...]
    worth: np.ndarray
    rate: np.ndarray
    top: np.ndarray
    span: np.ndarray
    noise: np.ndarray

    @classmethod
    def fit(cls, depths: tuple[str, ...], counts: np.ndarray, dice: np.ndarray) -> Self:
        """Fit curves to N trainings.

        Args:
            depths: names of the depths, full first.
            counts: `[N, D]`, number of scans annotated at each depth; at least one per row.
            dice: `[N]`, mean Dice on the same test scans, 0 to 1.

        Raises:
            ValueError: if there are too few trainings, or Dice does not rise with labels.
        """
        amounts = len(np.unique(counts, axis=0))
        if len(dice) < MIN_TRAININGS or amounts < MIN_TRAININGS - 1:
            raise ValueError(
                f"{len(dice)} trainings with {amounts} different amounts of labels; a curve needs "
                f"{MIN_TRAININGS} with {MIN_TRAININGS - 1}"
            )
        rng = np.random.default_rng(0)
        low = np.array([_RATE_RANGE[0], _LOG_NOISE_RANGE[0], *([0.0] * (len(depths) - 1))])
        high = np.array([_RATE_RANGE[1], _LOG_NOISE_RANGE[1], *([1.0] * (len(depths) - 1))])
        particles = rng.uniform(low, high, (_PARTICLES, len(low)))
        log_evidence = _log_evidence(particles, counts, dice)
        # Anneal from the prior to the posterior: resample at each stage, then Metropolis moves.
        stages = np.linspace(0, 1, _STAGES + 1) ** 3
        for previous, stage in pairwise(stages):
            weights = np.exp((stage - previous) * (log_evidence - log_evidence.max()))
            ancestors = rng.choice(_PARTICLES, _PARTICLES, p=weights / weights.sum())
            particles, log_evidence = particles[ancestors], log_evidence[ancestors]
            spread = np.cov(particles.T) * 2.4**2 / len(low) + 1e-12 * np.eye(len(low))
            for _ in range(_MOVES):
                proposals = particles + rng.multivariate_normal(0 * low, spread, _PARTICLES)
                inside = ((proposals >= low) & (proposals <= high)).all(axis=1)
                proposal_evidence = np.full(_PARTICLES, -np.inf)
                proposal_evidence[inside] = _log_evidence(proposals[inside], counts, dice)
                accepted = np.log(rng.uniform(size=_PARTICLES)) < stage * (
                    proposal_evidence - log_evidence
                )
                particles[accepted], log_evidence[accepted] = (
                    proposals[accepted],
                    proposal_evidence[accepted],
                )
        mean, factor = _line_posterior(particles, counts, dice)
        line = mean + np.einsum("pij,pj->pi", factor, rng.standard_normal(mean.shape))
        is_rising = (line[:, 0] <= 1) & (line[:, 1] <= 0)
        if is_rising.mean() < 0.02:
            raise ValueError("the Dice of these trainings does not rise with their labels")
        particles, line = particles[is_rising], line[is_rising]
        worth, noise = _worth(particles), np.exp(particles[:, 1])
        return cls(depths, worth, particles[:, 0], line[:, 0], -line[:, 1], noise)

    def predict(self, counts: np.ndarray, level: float = 0.95) -> np.ndarray:
        """Return median, low and high `[M, 3]` of the Dice of a new training for each row.

        Args:
            counts: `[M, D]`, number of scans annotated at each depth.
            level: share of trainings between low and high.
        """
        rng = np.random.default_rng(1)
        noise = self.noise[:, None] * rng.standard_normal((len(self.noise), 1))
        dice = self._mean(self.amount(counts)) + noise
        return _median_and_interval(dice, level).clip(0, 1)

    def gain(self, counts: np.ndarray, now: np.ndarray, level: float = 0.95) -> np.ndarray:
        """Return median, low and high `[M, 3]` of the gain in expected Dice.

        Args:
            counts: `[M, D]`, number of scans annotated at each depth.
            now: `[D]`, the current numbers.
            level: probability that the gain is between low and high.
        """
        current = self._mean(self.amount(now[None]))
        return _median_and_interval(self._mean(self.amount(counts)) - current, level)

    def _mean(self, amount: np.ndarray) -> np.ndarray:
        dice: np.ndarray = self.top[:, None] - self.span[:, None] * amount ** -self.rate[:, None]
        return dice

    def amount(self, counts: np.ndarray) -> np.ndarray:
        """Return the worth `[P, M]` of counts `[M, D]` in full annotations."""
        amount: np.ndarray = np.maximum(self.worth @ counts.T, _MIN_WORTH)
        return amount


def _median_and_interval(values: np.ndarray, level: float) -> np.ndarray:
    cuts: np.ndarray = np.quantile(values, (0.5, 0.5 - level / 2, 0.5 + level / 2), axis=0).T
    return cuts


def _worth(particles: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(particles), 1)), particles[:, 2:]], axis=1)


def _line_posterior(
    particles: np.ndarray, counts: np.ndarray, dice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return posterior mean `[P, 2]` and Cholesky factor `[P, 2, 2]` of top and minus span."""
    precision, right, _ = _normal_equations(particles, counts, dice)
    mean = np.linalg.solve(precision, right[..., None])[..., 0]
    return mean, np.linalg.cholesky(np.linalg.inv(precision))


def _normal_equations(
    particles: np.ndarray, counts: np.ndarray, dice: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision `[P, 2, 2]` and right-hand side `[P, 2]` of the linear regression on top and
    minus span, and the standard deviations of Dice `[P, N]`."""
    amount = np.maximum(_worth(particles) @ counts.T, _MIN_WORTH)
    columns = np.stack([np.ones_like(amount), amount ** -particles[:, :1]], axis=2)  # [P, N, 2]
    spread = np.repeat(np.exp(particles[:, 1:2]), len(dice), axis=1)
    columns /= spread[..., None]
    precision = np.einsum("pni,pnj->pij", columns, columns)
    right = np.einsum("pni,pn->pi", columns, dice / spread)
    return precision + np.diag(_BETA_STD**-2.0), right + _BETA_MEAN * _BETA_STD**-2.0, spread


def _log_evidence(particles: np.ndarray, counts: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Return the log likelihood `[P]` with top and span integrated out, up to a constant."""
    precision, right, spread = _normal_equations(particles, counts, dice)
    mean = np.linalg.solve(precision, right[..., None])[..., 0]
    _, volume = np.linalg.slogdet(precision)
    residual = ((dice / spread) ** 2).sum(axis=1) - (mean * right).sum(axis=1)
    evidence: np.ndarray = -np.log(spread).sum(axis=1) - 0.5 * residual - 0.5 * volume
    return evidence
