"""Hold and check the settings of a phantom cohort."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class PhantomSettings:
    """Describe a phantom cohort; equal settings give equal bytes.

    Args:
        subjects: how many newborns.
        seed: of every random draw; each subject depends on it and on the subject's number alone.
        spacing: voxel size in mm, isotropic, 0.4 to 5.
        preterm_share: share of subjects born at or before 32 weeks; the rest are born at term.
        two_sessions_share: share of the preterm subjects with a preterm and a term scan.
        t1w_missing_share: share of sessions without T1w.
        variation: how much tissue contrast differs between subjects (1: as under one protocol of
            one scanner; 3: as between sites, where white matter of a few scans falls below cortex).
        noise: standard deviation of the noise relative to cerebrospinal fluid on T2w.
        bias: standard deviation of the logarithm of the coil shading.
        motion: mean jump of the head in mm in the scans that have motion.
        motion_share: share of scans with motion.

    Raises:
        ValueError: a value lies outside its range.
    """

    subjects: int = 24
    seed: int = 0
    spacing: float = 2.0
    preterm_share: float = 0.75
    two_sessions_share: float = 0.35
    t1w_missing_share: float = 0.2
    variation: float = 2.0
    noise: float = 0.025
    bias: float = 0.15
    motion: float = 1.5
    motion_share: float = 0.25

    def __post_init__(self) -> None:
        ranges = {
            "subjects": (1, 40_000),
            "seed": (0, 2**63 - 1),
            "spacing": (0.4, 5.0),
            "preterm_share": (0, 1),
            "two_sessions_share": (0, 1),
            "t1w_missing_share": (0, 1),
            "variation": (0, 5),
            "noise": (0, 0.5),
            "bias": (0, 1),
            "motion": (0, 10),
            "motion_share": (0, 1),
        }
        for field in fields(self):
            low, high = ranges[field.name]
            value = getattr(self, field.name)
            whole = isinstance(field.default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                kind = "whole number" if whole else "number"
                raise ValueError(f"phantom setting {field.name} is {value!r}; expected a {kind}")
            if not low <= value <= high:
                raise ValueError(
                    f"phantom setting {field.name} is {value}; expected {low} to {high}"
                )
