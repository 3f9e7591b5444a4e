"""Growth of the newborn brain between 26 and 46 weeks, as functions of the scan age."""

import math
from dataclasses import dataclass

REFERENCE_AGE = 40.0
"""Age of the reference anatomy in weeks."""

REFERENCE_SCALE = 1.03
"""Scale at that age with which the volume of the tissues follows `tissue_volume`."""


@dataclass(frozen=True)
class Growth:
    """Age-dependent sizes; lengths in mm of the real head, scales relative to 40 weeks.

    Brain tissue grows by about 22 ml per week; folding comes in three waves (primary, secondary,
    tertiary sulci), each with its own onset.
    """

    scale: float
    cerebellum_scale: float
    ventricle_scale: float
    cortical_thickness: float
    sulcal_depths: tuple[float, float, float]
    sulcal_opening: float
    sylvian_opening: float
    fissure_width: float
    csf_width: float
    maturity: float
    layering: float
    cavum_width: float


def tissue_volume(age: float) -> float:
    """Return the mean brain volume without external CSF, in ml, at `age` weeks."""
    return 175.0 + 22.0 * (age - 30.0)


def rise(age: float, centre: float, width: float) -> float:
    """Return a logistic step from 0 to 1 around `centre` weeks, about 4 x `width` weeks wide."""
    return 1.0 / (1.0 + math.exp(-(age - centre) / width))


def ramp(age: float, early: float, late: float) -> float:
    """Interpolate from the value at 28 weeks to the value at 44 weeks, linearly and clamped."""
    share = min(max((age - 28.0) / 16.0, 0.0), 1.0)
    return early + share * (late - early)


def growth_at(age: float) -> Growth:
    """Return the mean sizes at `age` weeks of post-menstrual age.

    Raises:
        ValueError: the age is outside 24 to 48 weeks, for which the curves are not defined.
    """
    if not 24.0 <= age <= 48.0:
        raise ValueError(
            f"scan age {age:g} weeks is outside the phantom's range of 24 to 48 weeks; "
            "choose an age in that range"
        )
    return Growth(
        scale=REFERENCE_SCALE * (tissue_volume(age) / tissue_volume(REFERENCE_AGE)) ** (1.0 / 3.0),
        cerebellum_scale=ramp(age, 0.82, 1.05),
        ventricle_scale=ramp(age, 1.45, 0.8),
        cortical_thickness=ramp(age, 1.7, 2.4),
        sulcal_depths=(
            11.0 * rise(age, 31.5, 1.7),
            8.5 * rise(age, 35.5, 1.4),
            5.5 * rise(age, 39.0, 1.4),
        ),
        sulcal_opening=ramp(age, 2.6, 1.5),
        sylvian_opening=ramp(age, 9.0, 1.0),
        fissure_width=ramp(age, 2.6, 1.6),
        csf_width=ramp(age, 2.6, 1.1),
        maturity=ramp(age, 0.0, 1.0),
        layering=1.0 - rise(age, 35.0, 1.8),
        cavum_width=ramp(age, 3.4, 0.4),
    )
