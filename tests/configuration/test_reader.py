"""Readers of other people: which options they are given, and what becomes of faulty cohorts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoseg.cohort import Cohort, CohortError, Scan
from neoseg.configuration.reader import Reader
from neoseg.findings.settings import ConfigError
from neoseg.labels import Convention, LabelSpace

SCAN = Scan("1", None, (Path("a.nii"),), None, None, None, None, "mine")


def read_plain(root: str, space: LabelSpace, *, name: str = "mine") -> Cohort:
    """Return a cohort without knowing of `on_error`."""
    return Cohort(name, (SCAN,), Convention.identity(space), ("T2w",))


def read_any(root: str, space: LabelSpace, **options: Any) -> Cohort:
    """Take all options, and return the cohort that one of them is."""
    assert options.pop("on_error") == "collect"
    given: Cohort = options["cohort"]
    return given


def reader_of(function: str, **options: Any) -> Reader:
    return Reader.model_validate({"_target_": f"{__name__}.{function}", "root": ".", **options})


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the readers of this file, whose name is not that of a package."""
    readers = {f"{__name__}.{f.__name__}": f for f in (read_plain, read_any)}
    monkeypatch.setattr("neoseg.configuration.reader.find_object", readers.__getitem__)


def test_options_that_a_reader_lacks_are_not_asked_of_it(drawem9: LabelSpace) -> None:
    cohort = reader_of("read_plain").read_cohort(drawem9, "collect")
    assert cohort.scans == (SCAN,)
    aged = replace(cohort, scans=(replace(SCAN, scan_age=np.float32(38.5), birth_age=38),))
    assert reader_of("read_any", cohort=aged).read_cohort(drawem9, "collect") is aged
    with pytest.raises(ConfigError, match=r"does not fit .*read_plain"):
        reader_of("read_plain", suffix=".nii").read_cohort(drawem9)


def test_a_reader_of_any_options_has_no_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neoseg.configuration.reader.require_targets", lambda *_: None)
    assert list(reader_of("read_any", modalities=["T1w"]).wrong_keys([])) == []
    (wrong,) = reader_of("read_plain", nmae="x").wrong_keys([])
    assert "did you mean 'name'" in wrong


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"convention": {0: "BG"}}, "its convention is a dict, expected a Convention"),
        ({"modalities": ("T2w", "T1w")}, "sub-1 has 1 images for 2 modalities"),
        ({"scans": (replace(SCAN, images=(None,)),)}, "sub-1 has 1 images for 1 modalities"),
        ({"scans": (replace(SCAN, images=("a.nii",)),)}, "sub-1 has 'a.nii' as a file"),
        ({"scans": (replace(SCAN, label="b.nii"),)}, "sub-1 has 'b.nii' as a file"),
        ({"scans": (replace(SCAN, scan_age="40"),)}, "expected weeks as numbers, or None"),
        ({"scans": (SCAN, SCAN)}, "sub-1 is there twice"),
        ({"name": "another"}, "sub-1 is of cohort 'mine', expected 'another'"),
    ],
)
def test_a_cohort_that_cannot_be_used(
    drawem9: LabelSpace, changes: dict[str, Any], message: str
) -> None:
    whole = Cohort("mine", (SCAN,), Convention.identity(drawem9), ("T2w",))
    faulty = replace(whole, **changes)
    with pytest.raises(ConfigError, match=r"(?s)read_any gives a cohort that cannot") as caught:
        reader_of("read_any", cohort=faulty).read_cohort(drawem9, "collect")
    assert message in str(caught.value)


def test_ids_are_text() -> None:
    with pytest.raises(CohortError, match="the subject id is 7 of type int, expected text"):
        replace(SCAN, subject=7)
