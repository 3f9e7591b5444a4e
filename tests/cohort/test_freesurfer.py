"""Subjects directories of FreeSurfer."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.cohort import CohortError, read_freesurfer
from neoseg.configuration.config import CONFIG_DIR
from neoseg.labels import LabelSpace, LabelTable


@pytest.fixture(name="aseg", scope="module")
def aseg_fixture() -> LabelSpace:
    return LabelSpace.from_table(LabelTable.read(CONFIG_DIR / "labels" / "aseg.yaml"))


def subjects(root: Path) -> Path:
    for name in ("bert/T1", "bert/aseg", "bert/norm", "sub-02/T1", "fsaverage/T1"):
        path = root / name.replace("/", "/mri/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".mgz").write_bytes(b"x")
    return root


def test_subjects_of_recon_all(tmp_path: Path, aseg: LabelSpace) -> None:
    cohort = read_freesurfer(subjects(tmp_path), aseg, modalities=["T1", "norm"])
    other, bert = cohort.scans
    assert [scan.id for scan in cohort.scans] == ["sub-02", "sub-bert"]
    mri = tmp_path / "bert/mri"
    assert (bert.images, bert.label) == ((mri / "T1.mgz", mri / "norm.mgz"), mri / "aseg.mgz")
    assert (other.images[1], other.label) == (None, None)
    assert [problem.kind for problem in cohort.problems] == ["no-labels"]


def test_numbers_are_freesurfers_and_parcels_are_cortex(tmp_path: Path, aseg: LabelSpace) -> None:
    meaning = read_freesurfer(subjects(tmp_path), aseg).convention
    found = dict(zip(meaning.values, meaning.sets, strict=True))
    assert found[17] == aseg.label_set("Left-Hippocampus")
    assert found[1035] == found[3] == aseg.label_set("CTX_L")
    assert found[2001] == aseg.label_set("Right-Cerebral-Cortex")
    assert aseg.mirrored(found[1035]) == found[2001]


def test_another_table_is_a_guess_that_is_told(tmp_path: Path, drawem9: LabelSpace) -> None:
    cohort = read_freesurfer(subjects(tmp_path), drawem9)
    assert [p.kind for p in cohort.problems] == ["no-labels", "guessed-meaning"]
    told = read_freesurfer(tmp_path, drawem9, convention={0: "BG", 2: "WM", 41: "WM"})
    assert told.convention.values == (0, 2, 41)


def test_what_is_wrong_is_said(tmp_path: Path, aseg: LabelSpace) -> None:
    with pytest.raises(CohortError, match=r"holds no subjects; expected SUBJECT/mri/T1\.mgz"):
        read_freesurfer(tmp_path, aseg)
    subjects(tmp_path)
    (tmp_path / "bert/mri/T1.mgz").unlink()
    (tmp_path / "bert/mri/aseg.mgz").write_bytes(b"")
    with pytest.raises(CohortError, match=r"T1\.mgz: is no file[\s\S]*aseg\.mgz: is empty"):
        read_freesurfer(tmp_path, aseg)
    assert [s.id for s in read_freesurfer(tmp_path, aseg, on_error="skip").scans] == ["sub-02"]


def test_files_may_have_other_names_and_labels_of_several_kinds(tmp_path, aseg) -> None:
    subjects(tmp_path)
    manual = tmp_path / "sub-02/mri/aseg.manual.mgz"
    manual.write_bytes(b"x")
    kinds = ["aseg.manual", "aseg"]
    cohort = read_freesurfer(tmp_path, aseg, modalities=["T1w"], names={"T1w": "T1"}, labels=kinds)
    assert [scan.label for scan in cohort.scans] == [manual, tmp_path / "bert/mri/aseg.mgz"]
    assert cohort.scans[1].images == (tmp_path / "bert/mri/T1.mgz",)
    assert cohort.problems == ()
    with pytest.raises(CohortError, match=r"T1w\.mgz: is no file.*has T1, norm: see cohort\.mod"):
        read_freesurfer(tmp_path, aseg, modalities=["T1w"])


def longitudinal(root: Path) -> Path:
    """Two visits of one person with their template, and a person with one visit."""
    for name in ("a_tp1", "a_tp2", "a_base", "a_tp1.long.a_base", "a_tp2.long.a_base", "b"):
        for file in ("T1", "aseg"):
            path = root / name / "mri" / f"{file}.mgz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return root


def test_a_stream_of_longitudinal_processing_is_chosen(tmp_path: Path, aseg: LabelSpace) -> None:
    longitudinal(tmp_path)
    everything = read_freesurfer(tmp_path, aseg)
    assert len(everything.scans) == 6
    assert "2 visits are there twice" in "".join(everything.warnings)
    long, cross = (read_freesurfer(tmp_path, aseg, stream=name) for name in ("long", "cross"))
    assert [scan.images[0].parts[-3] for scan in long.scans] == [
        *("a_tp1.long.a_base", "a_tp2.long.a_base")
    ]
    assert [scan.images[0].parts[-3] for scan in cross.scans] == ["a_tp1", "a_tp2", "b"]
    assert {scan.subject for scan in cross.scans} == {"a_base", "b"}
    assert not [p for p in (*long.problems, *cross.problems) if p.kind == "duplicate-scan"]
    with pytest.raises(CohortError, match=r"stream: is 'longs'; expected one of all, cross, long"):
        read_freesurfer(tmp_path, aseg, stream="longs")
    with pytest.raises(CohortError, match=r"long leaves no scan"):
        read_freesurfer(tmp_path, aseg, stream="long", subjects=["b"])


def test_a_template_without_longitudinal_visits_is_one(tmp_path: Path, aseg: LabelSpace) -> None:
    subjects(tmp_path)
    (tmp_path / "bert" / "base-tps").write_text("bert_1\nbert_2\n")
    (told,) = [p for p in read_freesurfer(tmp_path, aseg).problems if p.kind == "duplicate-scan"]
    assert told.found == "1 people have a template besides"
    assert [s.id for s in read_freesurfer(tmp_path, aseg, stream="cross").scans] == ["sub-02"]


def test_folders_are_told_by_the_ids_of_their_scans(tmp_path: Path, aseg: LabelSpace) -> None:
    longitudinal(tmp_path)
    with pytest.raises(CohortError, match=r"exclude: names a_tp1, which the cohort calls a_base_"):
        read_freesurfer(tmp_path, aseg, exclude=["a_tp1"])
    left = read_freesurfer(tmp_path, aseg, exclude=["a_base"])
    assert [scan.subject for scan in left.scans] == ["b"]
    told = r"a template and its person, whose 5 scans are all left out; the template alone is "
    assert f"{told}a_base_ses-base" in "".join(left.warnings)
    without = read_freesurfer(tmp_path, aseg, exclude=["a_base_ses-base"])
    assert len(without.scans) == 5
    assert "left out" not in "".join(without.warnings)
