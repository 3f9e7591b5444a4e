"""Every kind of problem is found in data that has it, and the committed table says how."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_cohorts import EXAMPLES, examine, write_cohort
from messages import TARGET, example_of, found_in, table

from neoseg.findings.kinds import KINDS

SKIPPED = (
    *("missing-file", "empty-file", "not-nifti", "truncated-file", "damaged-gzip", "dimensions"),
    *("no-numbers", "not-finite", "constant-image", "singular-affine", "absent-affine"),
    *("voxel-size", "grid-shape", "grid-affine", "duplicate-image", "label-values"),
    *(
        "label-fractions",
        "label-scaling",
        "label-tables",
        "header-forms",
        "trailing-bytes",
        "empty-labels",
        "missing-image",
        "several-files",
        "duplicate-row",
    ),
)
ERRORS = {  # kind: how many of the three scans are left
    **dict.fromkeys((*SKIPPED, "contradicted-annotation"), 2),
    "unreadable-file": 0,
    "label-meaning": 0,
    "no-scans": 0,
    "mixed-releases": 0,
    "duplicate-scan": 3,  # of four
    "bad-table": 3,
    "plan": 2,
}


def test_every_kind_has_an_example() -> None:
    assert list(EXAMPLES) == list(KINDS)


def test_a_whole_cohort_has_no_problem(tmp_path: Path) -> None:
    diagnosis = examine(write_cohort(tmp_path / "cohort"), tmp_path / "store")
    assert diagnosis.problems == ()
    assert len(diagnosis.good) == 3
    assert diagnosis.usable


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found(kind: str, tmp_path: Path) -> None:
    diagnosis = found_in(kind, tmp_path)
    found = [problem for problem in diagnosis.problems if problem.kind == kind]
    assert found, diagnosis.text()
    severity = "error" if kind in ERRORS else "warning"
    assert {problem.severity for problem in found} == {severity}
    assert len(diagnosis.good) == ERRORS.get(kind, 1 if kind == "left-out" else 3)
    for problem in found:
        assert problem.where
        assert problem.found
        assert problem.action, "says what to do"
        assert severity == "error" or not problem.scans
    assert kind in diagnosis.text()
    if severity == "warning":
        assert diagnosis.errors == ()


def test_a_problem_of_one_scan_says_nothing_about_the_others(tmp_path: Path) -> None:
    problem = example_of("not-finite", tmp_path)
    assert problem.scans == ("sub-01",)
    assert problem.where == "/data/cohort/sub-01/anat/sub-01_T2w.nii.gz"


def test_the_committed_table_is_what_the_code_says(tmp_path: Path) -> None:
    text = TARGET.read_text(encoding="utf-8")
    assert text == table(tmp_path), "run python experiments/reliability/messages.py"
    assert all(f"`{kind}`" in text for kind in KINDS)
