"""Draw the subjects of a cohort: births, sessions, ages and acquisition parameters."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from neoseg.cohort.phantom.settings import PhantomSettings

ORIENTATIONS = ("RAS", "LAS", "PSR", "LPS")
GOLDEN_RATIO = 0.6180339887498949


class Stream(IntEnum):
    """Independent random streams of a subject."""

    PLAN = 1
    ANATOMY = 2
    CONTRAST = 3
    POSE = 4
    ACQUISITION = 5


@dataclass(frozen=True)
class Session:
    """One scan: ages in weeks, lengths in mm, head circumference in cm."""

    session_id: str
    visit: int
    scan_age: float
    has_t1w: bool
    orientation: str
    wide_view: bool
    motion: float
    float_labels: bool
    head_circumference: float
    radiology_score: str
    sedation: int


@dataclass(frozen=True)
class Subject:
    """One newborn; ages in weeks, birth weight in kg."""

    number: int
    participant_id: str
    sex: str
    birth_age: float
    birth_weight: float
    singleton: str
    sessions: tuple[Session, ...]


def random_stream(
    settings: PhantomSettings, number: int, stream: Stream, visit: int = 0
) -> np.random.Generator:
    """Return a generator that depends only on (seed, subject number, stream, visit)."""
    return np.random.default_rng([settings.seed, number, int(stream), visit])


def spread(settings: PhantomSettings, number: int, purpose: int) -> float:
    """Return a number in [0, 1) that is spread evenly over consecutive subjects.

    A golden-ratio sequence keeps the shares of a small cohort close to the requested ones, while
    each subject remains independent of the draws of the others.
    """
    start = np.random.default_rng([settings.seed, purpose]).random()
    return float((start + number * GOLDEN_RATIO) % 1.0)


def draw_subject(settings: PhantomSettings, number: int) -> Subject:
    """Draw subject `number` (from 0) with its one or two sessions."""
    rng = random_stream(settings, number, Stream.PLAN)
    quantile = spread(settings, number, 1)
    ages: tuple[float, ...]
    # `quantile` is spread evenly within the preterm part as well, so it also picks the visits.
    if quantile < settings.preterm_share:
        birth_age = float(np.clip(rng.normal(29.3, 1.9), 24.0, 32.0))
        early = float(np.clip(birth_age + 0.5 + rng.gamma(2.0, 1.2), 28.0, 36.4))
        late = float(np.clip(rng.normal(40.8, 1.4), 37.3, 44.3))
        preterm_quantile = quantile / settings.preterm_share
        both = settings.two_sessions_share
        if preterm_quantile < both:
            ages = (early, late)
        else:
            ages = (early,) if preterm_quantile < both + (1 - both) / 2 else (late,)
    else:
        birth_age = float(np.clip(rng.normal(39.6, 1.1), 37.0, 42.0))
        ages = (float(np.clip(birth_age + rng.gamma(1.5, 0.7), 37.3, 44.5)),)
    weight = 0.9 * np.exp(0.118 * (birth_age - 27.5)) * np.exp(rng.normal(0, 0.12))
    return Subject(
        number=number,
        participant_id=f"CC{50 + number:05d}XX{number * 7 % 20 + 1:02d}",
        sex=str(rng.choice(["male", "female"])),
        birth_age=round(birth_age, 2),
        birth_weight=round(float(weight), 2),
        singleton="multiple" if rng.random() < 0.15 else "single",
        sessions=tuple(_draw_session(settings, number, *visit) for visit in enumerate(ages)),
    )


def _draw_session(settings: PhantomSettings, number: int, visit: int, age: float) -> Session:
    rng = random_stream(settings, number, Stream.PLAN, visit + 1)
    age = round(age, 2)
    moves = rng.random() < settings.motion_share and settings.motion > 0
    return Session(
        session_id=str(7000 + 300 * number + 100 * visit + int(rng.integers(0, 100))),
        visit=visit,
        scan_age=age,
        has_t1w=spread(settings, 2 * number + visit, 2) >= settings.t1w_missing_share,
        orientation=ORIENTATIONS[int(rng.integers(0, len(ORIENTATIONS)))],
        wide_view=bool(rng.random() < 0.5),
        motion=float(settings.motion * rng.uniform(0.4, 1.6)) if moves else 0.0,
        float_labels=bool(rng.random() < 0.15),
        head_circumference=round(float(27.0 + 0.72 * (age - 30) + rng.normal(0, 0.8)), 1),
        radiology_score=str(rng.choice(["1", "1", "2", "2", "3", "Q"])),
        sedation=int(rng.random() < 0.05),
    )
