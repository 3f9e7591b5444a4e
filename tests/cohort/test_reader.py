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
    assert set(options) == {"root", "space", "name", "modalities", "on_error", "suffix"} | set(
        Selection.model_fields
    )
    assert options["name"].default == "flat"
    with pytest.raises(TypeError, match="sufix"):
        read_flat(".", None, sufix=".nii")


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
