"""Settings of a phantom cohort, with validation."""

from dataclasses import dataclass, field, fields
from typing import Any


def _setting(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class PhantomSettings:
    """Settings of a phantom cohort; equal settings give equal bytes.

    Args:
        subjects: number of newborns.
        seed: seed of all draws; each subject depends only on it and on the subject's number.
        spacing: voxel size in mm, isotropic, 0.4 to 5.
        preterm_share: share of subjects born at or before 32 weeks; the rest are born at term.
        two_sessions_share: share of the preterm subjects with a preterm and a term scan.
        t1w_missing_share: share of sessions without T1w.
        variation: how much tissue contrast differs between subjects (1: as under one protocol of
            one scanner; 3: as between sites, where white matter of a few scans falls below cortex).
        noise: standard deviation of the noise relative to cerebrospinal fluid on T2w.
        bias: standard deviation of the logarithm of the coil shading.
        motion: standard deviation in mm of the jumps of the head in scans with motion, on average.
        motion_share: share of scans with motion.

    Raises:
        ValueError: a value is outside its range or of the wrong type.
    """

    subjects: int = _setting(24, 1, 40_000)
    seed: int = _setting(0, 0, 2**63 - 1)
    spacing: float = _setting(2.0, 0.4, 5.0)
    preterm_share: float = _setting(0.75, 0, 1)
    two_sessions_share: float = _setting(0.35, 0, 1)
    t1w_missing_share: float = _setting(0.2, 0, 1)
    variation: float = _setting(2.0, 0, 5)
    noise: float = _setting(0.025, 0, 0.5)
    bias: float = _setting(0.15, 0, 1)
    motion: float = _setting(1.5, 0, 10)
    motion_share: float = _setting(0.25, 0, 1)

    def __post_init__(self) -> None:
        for entry in fields(self):
            low, high = entry.metadata["range"]
            value = getattr(self, entry.name)
            whole = isinstance(entry.default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                kind = "whole number" if whole else "number"
                raise ValueError(f"phantom setting {entry.name} is {value!r}; expected a {kind}")
            if not low <= value <= high:
                raise ValueError(
                    f"phantom setting {entry.name} is {value}; expected {low} to {high}"
                )
