"""Draw the individual anatomy of a newborn, which is the same in all sessions."""

from dataclasses import dataclass

import numpy as np

from neoseg.cohort.phantom.deformation import SmoothField, Waves
from neoseg.cohort.phantom.nucleus import NUCLEI, Displacement

SULCAL_SPACINGS = (24.0, 14.0, 10.5)
"""Mean distance in mm between neighbouring sulci of each wave of folding."""

HEAD_RADIUS = 45.0
TEMPLATE_SEED = 1973
"""Seed of the primary sulci, which are mostly the same in all subjects."""


@dataclass(frozen=True)
class Individual:
    """One subject's anatomy, as factors on the mean growth curves and smooth fields."""

    stretch: np.ndarray
    coarse: SmoothField
    fine: SmoothField
    parcel_borders: SmoothField
    texture: SmoothField
    sulci: tuple[Waves, Waves, Waves]
    sulcal_depth: Waves
    sulcal_bend: SmoothField
    folding_shift: float
    thickness: float
    ventricles: np.ndarray
    cerebellum: float
    csf: float
    sylvian: float
    has_cavum: bool
    nuclei: dict[str, Displacement]


def draw_individual(rng: np.random.Generator) -> Individual:
    """Draw one subject; the same generator state always gives the same anatomy."""
    # Volume and proportions are drawn separately: heads differ in size by about a tenth, and in
    # the ratio of length to width.
    volume = np.exp(np.clip(rng.normal(0, 0.02), -0.04, 0.04))
    proportions = np.exp(np.clip(rng.normal(0, 0.045, 3), -0.09, 0.09))
    proportions /= np.prod(proportions) ** (1 / 3)
    template = np.random.default_rng(TEMPLATE_SEED)
    primary, secondary, tertiary = (np.pi / spacing for spacing in SULCAL_SPACINGS)
    deep_size = np.exp(rng.normal(0, 0.06))
    deep_offset = rng.normal(0, 1.3, 3) * (0, 1, 1)
    coarse = SmoothField.draw(rng, 38.0, 2.2, 3)
    return Individual(
        stretch=volume * proportions * (1 + coarse.mean_expansion(HEAD_RADIUS)),
        coarse=coarse,
        fine=SmoothField.draw(rng, 15.0, 0.8, 3),
        parcel_borders=SmoothField.draw(rng, 18.0, 1.6, 3),
        texture=SmoothField.draw(rng, 9.0, 1.0, 3),
        sulci=(
            Waves.draw(template, primary, 10).mixed_with(Waves.draw(rng, primary, 8), 0.3),
            Waves.draw(rng, secondary, 16),
            Waves.draw(rng, tertiary, 16),
        ),
        sulcal_depth=Waves.draw(rng, np.pi / 22, 8),
        sulcal_bend=SmoothField.draw(rng, 13.0, 2.4, 3),
        folding_shift=float(np.clip(rng.normal(0, 0.8), -1.6, 1.6)),
        thickness=float(np.exp(rng.normal(0, 0.06))),
        # Left and right ventricles differ; their sizes are log-normal.
        ventricles=np.exp(rng.normal(0, 0.14) + rng.normal(0, 0.08, 2)),
        cerebellum=float(np.exp(rng.normal(0, 0.04))),
        csf=float(np.exp(rng.normal(0, 0.22))),
        sylvian=float(np.exp(rng.normal(0, 0.2))),
        has_cavum=bool(rng.random() < 0.6),
        nuclei={
            nucleus.name: Displacement(
                offset=deep_offset + rng.normal(0, 0.9, 3) + rng.normal(0, 0.35, (2, 3)),
                size=deep_size
                * np.exp(rng.normal(0, 0.08, 3))
                * np.exp(rng.normal(0, 0.02, (2, 3))),
            )
            for nucleus in NUCLEI
        },
    )
