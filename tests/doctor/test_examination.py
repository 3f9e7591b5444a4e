from __future__ import annotations

import json
import logging
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from broken_cohorts import (
    EXAMPLES,
    TABLE,
    Example,
    examine,
    head,
    planner,
    save,
    space,
    write_cohort,
)
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from neoseg.cohort import Cohort, CohortError, Problem, read_bids
from neoseg.cohort.annotated import with_annotation
from neoseg.cohort.scan_table import read_table
from neoseg.cohort.split import make_split
from neoseg.cohort.table import write_rows
from neoseg.commands.prepare import PrepareConfig
from neoseg.configuration.config import CONFIG_DIR
from neoseg.doctor.cohort import unknown_classes
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.examination import diagnose, without_bad_scans
from neoseg.labels import LabelSpace, LabelTable
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


def test_a_guessed_meaning_is_shown_with_its_voxels(tmp_path: Path) -> None:
    example = broken(tmp_path, "guessed-meaning")
    (told,) = examine(example, tmp_path / "store").problems
    number = sum(int((head(seed)[1] == 4).sum()) for seed in range(3))
    assert told.kind == "guessed-meaning"
    assert f"4 -> dGM ({number} voxels)" in told.found
    without_bad_scans(read(example), store_at(tmp_path))
    example.options["convention"] = "identity"
    assert examine(example, tmp_path / "store").problems == ()


def label_problems(tmp_path: Path, labels: np.ndarray, **header: Any) -> list[Problem]:
    """Return what is found in a cohort whose first label file holds these numbers."""
    example = broken(tmp_path)
    image = nib.Nifti1Image(labels, np.eye(4))
    if header:
        image.header.set_slope_inter(**header)
    nib.save(image, example.file("dseg"))
    return [p for p in examine(example, tmp_path / "store").problems if "dseg" in p.where]


def test_rounded_labels_are_those_that_were_meant(tmp_path: Path) -> None:
    labels = head(0)[1]
    (told,) = label_problems(tmp_path, labels * np.float32(1 + 1e-7))
    assert (told.kind, told.severity) == ("label-rounding", "warning")
    (entry,) = (tmp_path / "store/example").glob("sub-01-*/entry.json")
    assert json.loads(entry.read_text())["voxels"] == np.bincount(labels.ravel()).tolist()


def test_scaled_labels_get_advice_that_works(tmp_path: Path) -> None:
    labels = head(0)[1]
    (told,) = label_problems(tmp_path, labels, slope=0.5, inter=0)
    assert (told.kind, told.scans) == ("label-scaling", ("sub-01",))
    assert "scl_slope 0.5" in told.found
    assert "raw values (0, 1, 2, 3, 4)" in told.action
    path = Path(told.where)
    image = nib.load(path)
    raw = nib.Nifti1Image(image.dataobj.get_unscaled(), image.affine)  # as the message says
    nib.save(raw, path)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), labels)


def test_labels_whose_raw_values_are_lost_are_exported_again(tmp_path: Path) -> None:
    (told,) = label_problems(tmp_path, (head(0)[1] * 28).astype(np.uint8), slope=4 / 113, inter=0)
    assert "lost the numbers" in told.found
    assert "get_unscaled" not in told.action
    assert "export the labels again" in told.action


def test_scaling_to_whole_numbers_is_told(tmp_path: Path) -> None:
    labels = head(0)[1].astype(np.int16)
    (told,) = label_problems(tmp_path, (labels - 9000).astype(np.int16), slope=1, inter=9000)
    assert (told.kind, told.severity) == ("label-scaling", "warning")


def test_negative_labels_get_advice_that_works(tmp_path: Path) -> None:
    labels = head(0)[1].astype(np.int16)
    (told,) = label_problems(tmp_path, np.where(labels == 0, -1, labels))
    assert told.kind == "label-values"
    line = told.action.split("'")[1]
    assert line == "cohort.convention={-1: null, 0: BG, 1: CSF, 2: cGM, 3: WM, 4: dGM}"
    override = OverridesParser.create().parse_override(line)
    example = Example(tmp_path / "cohort", {"convention": override.value()})
    assert examine(example, tmp_path / "store").problems == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"mirrored": True}, True),
        ({"paired": True}, False),  # the table says so
        ({"turned": 1}, False),  # they lie behind one another
        ({"moved": 2}, False),  # in the third scan on the other side
    ],
)
def test_sides_that_the_table_does_not_tell_are_found(
    tmp_path: Path, change: dict[str, int], told: bool
) -> None:
    example = broken(tmp_path, "unpaired-sides")
    for number, subject in enumerate(("01", "02", "03")):
        labels = np.asarray(nib.load(example.file("dseg", subject)).dataobj)
        if "turned" in change:
            labels = labels.swapaxes(0, change["turned"])
        if change.get("moved") == number:
            labels = labels[::-1]
        affine = np.diag([-1.0 if "mirrored" in change else 1.0, 1.0, 1.0, 1.0])
        image = np.asarray(nib.load(example.file("T2w", subject)).dataobj)
        mask = np.asarray(nib.load(example.file("desc-brain_mask", subject)).dataobj)
        for name, array in (("dseg", labels), ("T2w", image), ("desc-brain_mask", mask)):
            save(example.file(name, subject), array, affine)
    if "paired" in change:
        table = LabelTable.model_validate(TABLE | {"mirror": [[3, 4]]})
        cohort = read_bids(example.root, LabelSpace.from_table(table), on_error="collect")
        diagnosis = diagnose(cohort, store_at(tmp_path))
    else:
        diagnosis = examine(example, tmp_path / "store")
    found = [p for p in diagnosis.problems if p.kind == "unpaired-sides"]
    names, pair = ("dGM and WM", "[4, 3]") if "mirrored" in change else ("WM and dGM", "[3, 4]")
    assert [p.found.rpartition(": ")[2] for p in found] == [names] * told
    assert all(f"mirror: [{pair}]" in p.action for p in found)


@pytest.mark.parametrize(
    ("exchanged", "names", "told"),
    [
        ((), ("White", "Deep"), ""),
        (("02",), ("White", "Deep"), "WM and dGM lie the other way round in 1 of 3 scans: sub-02"),
        ((), ("Left-A", "Right-A"), ""),
        ((), ("a rh", "a lh"), "left and right structures lie the other way round in most scans"),
    ],
)
def test_sides_that_are_exchanged_are_told(tmp_path: Path, exchanged, names, told) -> None:
    example = broken(tmp_path, "unpaired-sides")
    for subject in exchanged:
        labels = np.asarray(nib.load(example.file("dseg", subject)).dataobj)
        save(example.file("dseg", subject), np.array([0, 1, 2, 4, 3], np.uint8)[labels])
    (example.root / "dseg.tsv").unlink()
    table = deepcopy(TABLE) | {"mirror": [[3, 4]]}
    for leaf, name in zip(table["leaves"][3:], names, strict=True):
        leaf["name"] = name
    space = LabelSpace.from_table(LabelTable.model_validate(table))
    cohort = read_bids(example.root, space, convention="identity", on_error="collect")
    problems = diagnose(cohort, store_at(tmp_path)).problems
    found = [problem.found for problem in problems if problem.kind == "exchanged-sides"]
    assert [text[: len(told)] for text in found] == [told] * bool(told)


@pytest.mark.parametrize("whole", [True, False])
def test_masks_that_have_the_integer_of_a_structure_are_told(tmp_path: Path, whole: bool) -> None:
    """1 is the outer fluid in two files, and all of the brain, or fluid, in the third."""
    example = broken(tmp_path)
    labels = head(2)[1]
    save(example.file("dseg", "03"), (labels > 1 if whole else labels == 1).astype(np.uint8))
    example.options["convention"] = "identity"
    problems = examine(example, tmp_path / "store").problems
    (problem,) = [p for p in problems if p.kind == "structure-not-drawn"]
    line = "{describes: true, convention: {0: BG, 1: TCV}}"
    assert (line in problem.action) == ("if their 1 is a mask" in problem.action) == whole
    assert "cohort.not_drawn=" in problem.action


def test_of_two_scans_the_names_tell_which_is_exchanged(tmp_path: Path) -> None:
    example = broken(tmp_path, "unpaired-sides")
    labels = np.asarray(nib.load(example.file("dseg", "01")).dataobj)
    save(example.file("dseg", "01"), np.array([0, 1, 2, 4, 3], np.uint8)[labels])
    (example.root / "dseg.tsv").unlink()
    table = deepcopy(TABLE) | {"mirror": [[3, 4]]}
    for leaf, side in zip(table["leaves"][3:], ("left", "right"), strict=True):
        leaf["name"] = f"A {side}"
    space = LabelSpace.from_table(LabelTable.model_validate(table))
    cohort = read_bids(example.root, space, convention="identity", exclude=["03"])
    problems = diagnose(cohort, store_at(tmp_path)).problems
    (found,) = [problem.found for problem in problems if problem.kind == "exchanged-sides"]
    assert found == "WM and dGM lie the other way round in 1 of 2 scans: sub-01"


def test_a_structure_with_an_integer_for_each_side_is_on_both(tmp_path: Path) -> None:
    """Right and left parts of white matter and of deep grey: no structure is of one side."""
    example = broken(tmp_path)
    for number, subject in enumerate(("01", "02", "03")):
        labels = head(number)[1]
        labels[:8][labels[:8] > 2] += 10
        save(example.file("dseg", subject), labels)
    example.options["convention"] = {n: n for n in range(5)} | {13: 3, 14: 4}
    kinds = {problem.kind for problem in examine(example, tmp_path / "store").problems}
    assert "unpaired-sides" not in kinds


def test_flat_volumes_are_sampled_in_all_planes(tmp_path: Path) -> None:
    """Image and labels are 0 in the first plane alone."""
    example = broken(tmp_path)
    rng = np.random.default_rng(0)
    image = np.zeros((1024, 1024, 3), np.float32)
    image[..., 1:] = rng.normal(100, 20, (1024, 1024, 2))
    labels = np.zeros(image.shape, np.uint8)
    labels[200:800, 200:800, 1:] = 3
    for name, array in (("T2w", image), ("dseg", labels), ("desc-brain_mask", labels)):
        save(example.file(name), array)
    kinds = {p.kind for p in examine(example, tmp_path / "store").problems if "01" in p.where}
    assert not kinds & {"few-values", "duplicate-image", "outlying-voxels"}


@pytest.mark.parametrize("named", ["itself", "another", "label", "second"])
def test_a_file_that_was_taken_for_another_is_found(tmp_path: Path, named: str) -> None:
    """Rows of a table that were copied: each file is there, and one is not what the row says."""
    example = broken(tmp_path)
    for number, subject in enumerate(("01", "02", "03")):
        save(example.file("T1w", subject), head(10 + number)[0])
    rows = {subject: {} for subject in ("01", "02", "03")}
    for subject, row in rows.items():
        row |= {"subject": subject, "label": example.file("dseg", subject)}
        row |= {name: example.file(name, subject) for name in ("T2w", "T1w")}
    wrong = {
        "itself": ("T1w", example.file("T2w", "02")),
        "another": ("T1w", example.file("T1w", "01")),
        "label": ("T2w", example.file("dseg", "02")),
        "second": ("label", example.file("dseg", "01")),
    }
    rows["02"] |= dict([wrong[named]])
    path = tmp_path / "scans.csv"
    write_rows(path, list(rows["01"]), [list(row.values()) for row in rows.values()])
    modalities = ["T2w", "T1w"]
    cohort = read_table(path, space(), modalities=modalities, name="a", on_error="collect")
    diagnosis = diagnose(cohort, store_at(tmp_path))
    kind = "duplicate-labels" if named == "second" else "duplicate-image"
    (found,) = [problem for problem in diagnosis.problems if problem.kind == kind]
    assert str(wrong[named][1]) in str(found)
    assert (found.severity == "warning") == (named == "second")


def test_structures_that_some_scans_lack_are_told_with_lines_that_settle_it(
    tmp_path: Path,
) -> None:
    example = broken(tmp_path)
    for subject, lost in (("01", [3, 4]), ("02", [4])):
        labels = head(int(subject) - 1)[1]
        kept = np.where(np.isin(labels, lost), 0, labels).astype(np.uint8)
        save(example.file("dseg", subject), kept)
    diagnosis = examine(example, tmp_path / "store")
    told = [p for p in diagnosis.problems if p.kind == "structure-not-drawn"]
    assert [p.found for p in told] == [
        "1 of 3 scans have no voxel of WM, which others show: sub-01",
        "2 of 3 scans have no voxel of dGM, which others show: sub-01, sub-02",
    ]
    shown = diagnosis.to_dict()["shown"]
    assert shown["structures"] == ["CSF", "cGM", "WM", "dGM"]
    assert [row[3] > 0 for row in shown["voxels"].values()] == [False, False, True]
    assert shown["voxels"]["sub-03"] == np.bincount(head(2)[1].ravel())[1:].tolist()
    assert "| dGM | 1 of 3 |" in diagnosis.markdown()

    lines = [problem.action.split("'")[1] for problem in told]
    config = OmegaConf.create({"cohort": {"not_drawn": None}})
    for override in OverridesParser.create().parse_overrides(lines):
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    example.options = OmegaConf.to_container(config.cohort)  # type: ignore[assignment]
    assert examine(example, tmp_path / "store").problems == ()
    assert read(example).scans[0].not_drawn == space().label_set(["WM", "dGM"])
    # A protocol says it as well as the cohort does.
    example.options = {}
    example.annotation = {
        "full_fraction": 0.3,
        "protocol": {"name": "missing", "missing": ["WM", "dGM"]},
    }
    source = planner(example.annotation)(read(example))
    train = {a.subject for a in source.assignments if a.protocol == "missing"}
    found = examine(example, tmp_path / "store").problems
    assert not any(f"sub-{subject}" in p.found for p in found for subject in train)


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


def test_scans_without_a_modality_are_told(tmp_path: Path) -> None:
    example = broken(tmp_path)
    save(example.file("T1w", "02"), head(12)[0])
    example.options["modalities"] = ["T2w", "T1w"]
    (problem,) = examine(example, tmp_path / "store").problems
    assert problem.found == "2 of 3 scans have no T1w: sub-01, sub-03"
    assert (problem.kind, problem.severity) == ("missing-image", "warning")
    example.file("T1w", "02").unlink()
    (problem,) = examine(example, tmp_path / "store").problems
    assert problem.found == "none of 3 scans has T1w"
    assert problem.action.endswith("a training on it alone stops")
    assert (problem.kind, problem.severity) == ("missing-image", "warning")


def test_people_who_have_none_of_it_may_be_named_as_full(tmp_path: Path) -> None:
    example = broken(tmp_path)
    save(example.file("dseg", "01"), np.zeros((16, 16, 16), np.uint8))
    example.annotation = {"full_fraction": 1.0, "protocol": {"name": "full"}}
    kinds = {p.kind for p in examine(example, tmp_path / "store").problems}
    assert "empty-labels" in kinds
    example.annotation |= {"full": ["01", "02", "03"], "full_fraction": None}
    kinds = {p.kind for p in examine(example, tmp_path / "store").problems}
    assert kinds == {"leaf-never-tested"}  # they are the test
    save(example.file("dseg", "01"), np.ones((16, 16, 16), np.uint8))
    kinds = {p.kind for p in examine(example, tmp_path / "store").problems}
    assert kinds == {"leaf-never-tested", "structure-not-drawn"}


def test_an_integer_that_some_scans_have_for_another_structure_is_told(tmp_path: Path) -> None:
    """Their 4 may be what others call 3, as of two versions of a table."""
    example = broken(tmp_path)
    labels = {subject: head(number)[1] for number, subject in enumerate(("01", "02", "03"))}
    for subject, here in labels.items():
        one = np.where(here == 4, 3, here) if subject != "03" else np.where(here == 3, 4, here)
        save(example.file("dseg", subject), one.astype(np.uint8))
    problems = examine(example, tmp_path / "store").problems
    told = [p.action for p in problems if "no voxel of WM" in p.found]
    assert "only these scans show dGM: if their 4 is WM" in told[0]
    assert "convention: {0: BG, 1: CSF, 2: cGM, 3: dGM, 4: WM}" in told[0]


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


def test_background_needs_no_annotation_of_its_own() -> None:
    """Data sets of one structure each: in all of them something was not drawn."""
    table = space()
    names = [leaf.abbreviation for leaf in table.leaves]
    known = [table.everything - {leaf} for leaf in range(1, len(names))]
    (found,) = unknown_classes(table, known)
    assert names[table.background] not in found.found
    assert names[-1] in found.found
    singles = [frozenset({leaf}) for leaf in range(len(names)) if leaf != table.background]
    assert not list(unknown_classes(table, [*known, *singles]))


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


@pytest.mark.parametrize("wrong", ["subject|annotation\nA|full\n", "subject,annotation\n01,ful\n"])
def test_a_table_of_annotations_that_says_nothing_makes_no_plan(tmp_path: Path, wrong: str) -> None:
    """What is left without it would be a plan that nobody made."""
    table = tmp_path / "who.csv"
    table.write_text(wrong)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        lines = ["annotation=table", f"annotation.file={table}", "annotation.full_fraction=0.5"]
        command = PrepareConfig.parse(compose("prepare", [*lines, "annotation.subset=true"]))
    assert command.annotation is not None
    cohort = read(broken(tmp_path), "collect")
    cohort = with_annotation(cohort, command.annotation, "collect")
    found = diagnose(cohort, store_at(tmp_path), command.planner())
    (error,) = found.errors
    assert error.where.startswith(str(table))
    assert found.annotated is None


def test_prepare_goes_by_the_split_of_the_cohorts_own_table(tmp_path: Path) -> None:
    """What no training scan shows has to be told, so the plan has to be the training's."""
    cohort = read(write_cohort(tmp_path / "cohort"))
    parts = ("train", "val", "test")
    scans = [replace(s, split=part) for s, part in zip(cohort.scans, parts, strict=True)]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        plan = PrepareConfig.parse(compose("prepare", ["annotation=full"])).planner()
    assert plan is not None
    told, all_train = plan(replace(cohort, scans=tuple(scans))), plan(cohort)
    assert [item.split for item in told.assignments] == list(parts)
    assert [item.split for item in all_train.assignments] == ["train"] * 3
