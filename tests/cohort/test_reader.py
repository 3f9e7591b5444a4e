"""What a reader of cohorts gets by being one."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from neoseg.cohort import CohortError, Scan
from neoseg.cohort.reader import Reading, reader
from neoseg.cohort.selection import Selection
from neoseg.labels import Convention, LabelSpace


@reader("flat", ("T2w", "T1w"))
def read_flat(
    root: Path, space: LabelSpace, reading: Reading, *, suffix: str = ".nii"
) -> tuple[list[Scan], Convention | None]:
    reading.settle()
    found = sorted(root.glob(f"*{suffix}"))
    if not found:
        reading.problems.error(root, "is empty", kind="no-scans")
    return [
        Scan(path.stem, None, (path,), None, None, None, None, reading.name)
        for path in found
        if reading.selection.wants(path.stem)
    ], Convention.identity(space)


def test_its_options_are_listed() -> None:
    options = inspect.signature(read_flat).parameters
    shared = {"root", "space", "name", "modalities", "on_error", "not_drawn"}
    assert set(options) == shared | {"suffix"} | set(Selection.model_fields)
    assert options["name"].default == "flat"
    with pytest.raises(TypeError, match="sufix"):
        read_flat(".", None, sufix=".nii")


def test_what_was_not_drawn_is_said_by_subject(tmp_path: Path, drawem9: LabelSpace) -> None:
    for name in "abc":
        (tmp_path / f"{name}.nii").touch()
    said = {"dGM": ["a", "sub-b"], "TCV": ["sub-a"], 5: ["x"]}
    cohort = read_flat(tmp_path, drawem9, not_drawn=said)
    both, deep = drawem9.label_set(["TCV", "dGM"]), drawem9.label_set("dGM")
    assert [scan.not_drawn for scan in cohort.scans] == [both, deep, frozenset()]
    told = cohort.scans[1].sets(cohort.convention)
    assert told[0] == drawem9.label_set(["BG", "dGM"])
    assert told[1:] == cohort.convention.sets[1:]
    assert any("names x for 5, which the cohort does not have" in w for w in cohort.warnings)
    with pytest.raises(CohortError, match=r"not_drawn: label table 'drawem9' has no.*'DGN'"):
        read_flat(tmp_path, drawem9, not_drawn={"DGN": ["a"]})


def test_it_has_the_filters_and_tells_every_problem(tmp_path: Path, drawem9: LabelSpace) -> None:
    for name in "abc":
        (tmp_path / f"{name}.nii").touch()
    cohort = read_flat(str(tmp_path), drawem9, name="mine", exclude=["sub-b"], max_subjects=1)
    assert [(scan.id, scan.cohort) for scan in cohort.scans] == [("sub-a", "mine")]
    with pytest.raises(CohortError, match=r"modalities: found \['T3w'\].*'T2w', 'T1w'"):
        read_flat(tmp_path, drawem9, modalities=["T3w"])
    with pytest.raises(CohortError, match="is empty"):
        read_flat(tmp_path, drawem9, suffix=".mgz")
    with pytest.raises(CohortError, match="max_subjects"):
        read_flat(tmp_path, drawem9, max_subjects=0)


def test_ids_that_look_like_numbers_need_no_quotes(tmp_path: Path, drawem9: LabelSpace) -> None:
    for name in ("1000", "1001", "0002"):
        (tmp_path / f"{name}.nii").touch()
    cohort = read_flat(tmp_path, drawem9, subjects=[1000, "sub-1001"], exclude=[1001])
    assert [scan.subject for scan in cohort.scans] == ["1000"]
