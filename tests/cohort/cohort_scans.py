"""Scans without files, for what depends on ids, ages and labels only."""

from __future__ import annotations

from pathlib import Path

from neoseg.cohort import Scan


def make_scan(
    subject: str, session: str | None, scan_age: float | None, labelled: bool = True
) -> Scan:
    """One scan."""
    return Scan(
        subject=subject,
        session=session,
        images=(Path(f"{subject}_{session}_T2w.nii.gz"),),
        label=Path(f"{subject}_{session}_dseg.nii.gz") if labelled else None,
        mask=None,
        scan_age=scan_age,
        birth_age=None,
        cohort="toy",
    )


def make_scans(preterm: int = 0, term: int = 0, both: int = 0, unknown: int = 0) -> list[Scan]:
    """So many subjects of each age group; "both" have two sessions."""
    scans = [make_scan(f"P{i:03}", "1", 30.0) for i in range(preterm)]
    scans += [make_scan(f"T{i:03}", "1", 40.0) for i in range(term)]
    scans += [make_scan(f"U{i:03}", None, None) for i in range(unknown)]
    for i in range(both):
        scans += [make_scan(f"B{i:03}", "1", 31.0), make_scan(f"B{i:03}", "2", 41.0)]
    return scans
