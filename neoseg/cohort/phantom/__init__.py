"""Generate synthetic newborn brain scans with DrawEM labels in the dHCP release-3 layout."""

from __future__ import annotations

from .generation import generate_cohort
from .scan import PhantomScan, generate_scan
from .settings import PhantomSettings
from .subject import Session, Subject, draw_subject

__all__ = [
    "PhantomScan",
    "PhantomSettings",
    "Session",
    "Subject",
    "draw_subject",
    "generate_cohort",
    "generate_scan",
]
