from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from broken_cohorts import EXAMPLES, Example, examine, head, save, space, write_cohort

from neoseg.cohort import Cohort, CohortError, read_bids
from neoseg.cohort.split import make_split
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.examination import diagnose, without_bad_scans
from neoseg.store import PrepareSettings
from neoseg.store import store as store_module
from neoseg.store.store import Store


def broken(tmp_path: Path, *kinds: str) -> Example:
    """Three subjects and a copy under other names, broken in several ways."""
    example = write_cohort(tmp_path / "cohort")
    for kind in kinds:
        EXAMPLES[kind](example)
    return example


def read(example: Example, on_error: str = "skip") -> Cohort:
    return read_bids(example.root, space(), on_error=on_error, **example.options)  # type: ignore[arg-type]


def store_at(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", PrepareSettings(locations=20, processes=1))


def test_one_pass_lists_problems_of_all_levels(tmp_path: Path) -> None:
    example = broken(tmp_path, "not-finite", "impossible-age", "row-without-files")
    example.file("T2w", "02").write_bytes(b"")
    save(example.file("dseg", "03"), head(0)[1][1:])
    diagnosis = examine(example, tmp_path / "store")
    kinds = {(problem.kind, problem.scans) for problem in diagnosis.errors}
    assert kinds == {
        ("empty-file", ("sub-02",)),
        ("not-finite", ("sub-01",)),
        ("grid-shape", ("sub-03",)),
    }
    assert {p.kind for p in diagnosis.warnings} >= {"impossible-age", "row-without-files"}
    assert diagnosis.skipped == ("sub-01", "sub-02", "sub-03")
    assert not diagnosis.usable


def test_warnings_are_listed_again_without_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = broken(tmp_path, "trailing-axis", "mask")
    first = examine(example, tmp_path / "store")
    assert {problem.kind for problem in first.problems} == {"trailing-axis", "mask"}
    monkeypatch.setattr(store_module, "read_scan", None)
    assert examine(example, tmp_path / "store").problems == first.problems


def test_skipping_leaves_out_what_readers_and_files_find(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    example = broken(tmp_path, "not-finite")
    example.file("T2w", "02").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        cohort = without_bad_scans(read(example), store_at(tmp_path))
    assert [scan.id for scan in cohort.scans] == ["sub-03"]
    reasons = {p.scans: p.kind for p in cohort.problems if p.severity == "error"}
    assert reasons == {("sub-01",): "not-finite", ("sub-02",): "empty-file"}
    assert "2 scans are left out" in caplog.text
    assert make_split(cohort.scans, (1, 0, 0)).train == ("03",)


def test_nothing_is_left_to_skip_to(tmp_path: Path) -> None:
    example = broken(tmp_path)
    for subject in ("01", "02", "03"):
        example.file("T2w", subject).write_bytes(b"no")
    with pytest.raises(CohortError, match="also without") as caught:
        without_bad_scans(read(example), store_at(tmp_path))
    assert len(caught.value.problems) == 3


def test_errors_about_the_whole_cohort_are_not_skipped(tmp_path: Path) -> None:
    example = broken(tmp_path, "bad-table")
    with pytest.raises(CohortError, match=r"participants\.tsv"):
        read(example)
    cohort = read(example, "collect")
    assert len(cohort.scans) == 3
    with pytest.raises(CohortError, match=r"participants\.tsv"):
        without_bad_scans(cohort, store_at(tmp_path))


def test_a_cohort_without_faults_is_left_as_it_is(tmp_path: Path) -> None:
    cohort = read(broken(tmp_path))
    assert without_bad_scans(cohort, store_at(tmp_path)) == cohort


def test_two_sessions_of_one_subject_may_share_an_image_with_a_warning(tmp_path: Path) -> None:
    example = write_cohort(tmp_path / "cohort")
    for session in "12":
        folder = example.root / "sub-09" / f"ses-{session}" / "anat"
        save(folder / f"sub-09_ses-{session}_T2w.nii.gz", head(9)[0])
    diagnosis = examine(example, tmp_path / "store")
    (found,) = [p for p in diagnosis.problems if p.kind == "duplicate-image"]
    assert (found.severity, found.scans) == ("warning", ())


def test_what_a_plan_hides_is_not_shown(tmp_path: Path) -> None:
    example = broken(tmp_path)
    example.annotation = {
        "full_fraction": 0.01,
        "use_rest": True,
        "protocol": {"name": "brain", "merge": ["TCV"]},
    }
    # One subject is for training and fully labelled: everything is shown.
    assert examine(example, tmp_path / "store").problems == ()
    # The same labels told as a brain alone: nothing in it is ever shown or annotated.
    example.options["convention"] = {0: 0, 1: 1, 2: "TCV", 3: "TCV", 4: "TCV"}
    found = {p.kind: p.found for p in examine(example, tmp_path / "other").problems}
    assert "cGM, WM, dGM" in found["leaf-never-shown"]
    assert "merged" in found["leaf-never-shown"]
    assert "cGM, WM, dGM" in found["class-never-annotated"]
    assert "TCV" not in found["class-never-annotated"]


def test_the_report_holds_everything(tmp_path: Path) -> None:
    example = broken(tmp_path, "not-finite", "impossible-age")
    diagnosis = examine(example, tmp_path / "store")
    readable = diagnosis.write(tmp_path / "out" / "check.json")
    raw = json.loads((tmp_path / "out" / "check.json").read_text())
    assert raw["errors"] == len(diagnosis.errors) == 1
    assert raw["warnings"] == len(diagnosis.warnings) == 2
    assert raw["skipped_scans"] == ["sub-01"]
    assert {row["kind"] for row in raw["problems"]} == {p.kind for p in diagnosis.problems}
    text = readable.read_text()
    for problem in diagnosis.problems:
        assert Path(problem.where).name.split()[0] in text


def test_a_screen_shows_some_of_each_kind_and_how_many_more(tmp_path: Path) -> None:
    example = broken(tmp_path)
    for subject in ("01", "02", "03"):
        example.file("T2w", subject).write_bytes(b"no")
    diagnosis = examine(example, tmp_path / "store")
    text = diagnosis.text(listed=2)
    assert text.count("  - ") == 2
    assert "and 1 more" in text
    assert diagnosis.text(None).count("  - ") == 3


def test_cells_cannot_break_the_table() -> None:
    cohort = Diagnosis.of_error("x", CohortError("no\n| scans <b>here</b>"))
    line = next(line for line in cohort.markdown().splitlines() if "scans" in line and "|" in line)
    assert r"no \| scans \<b\>here\</b\>" in line


def test_the_progress_counts_every_scan(tmp_path: Path) -> None:
    seen: list[str] = []
    diagnose(read(broken(tmp_path, "not-finite")), store_at(tmp_path), progress=seen.append)
    assert sorted(seen) == ["sub-01", "sub-02", "sub-03"]
