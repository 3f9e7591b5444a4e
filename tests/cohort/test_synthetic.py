"""The phantom as a cohort: made once, recognised again, kept apart by its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.cohort import CohortError, read_phantom
from neoseg.labels import LabelSpace

SMALL = {"subjects": 2, "spacing": 5.0}


def test_it_is_generated_once_and_then_read(drawem9: LabelSpace, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = read_phantom(
        tmp_path, drawem9, phantom=SMALL, workers=1, progress=lambda *n: calls.append(n)
    )
    assert calls[-1][0] == calls[-1][1] == len(first.scans)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")}
    again = read_phantom(tmp_path, drawem9, phantom=SMALL, workers=1)
    assert again.scans == first.scans
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")} == before


def test_other_settings_lie_beside_it(drawem9: LabelSpace, tmp_path: Path) -> None:
    folders = {
        read_phantom(tmp_path, drawem9, phantom={**SMALL, **extra}, workers=1).scans[0].images[0]
        for extra in ({}, {"noise": 0.1})
    }
    assert len({path.relative_to(tmp_path).parts[0] for path in folders if path}) == 2


def test_mistakes_are_named(drawem9: LabelSpace, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"nois.*noise"):
        read_phantom(tmp_path, drawem9, phantom={"nois": 1.0})
    with pytest.raises(CohortError, match="spacing is 50"):
        read_phantom(tmp_path, drawem9, phantom={"spacing": 50.0})
