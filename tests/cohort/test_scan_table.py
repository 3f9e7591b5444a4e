"""A cohort from a table: what it may leave out, and each fault with its line and column."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from neoseg.cohort import AnnotationSettings, Cohort, CohortError, read_table
from neoseg.cohort.annotated import with_annotation
from neoseg.cohort.split import SplitSettings, split_of
from neoseg.findings.settings import parse_settings
from neoseg.labels import LabelSpace

HEADER = "subject,session,T2w,T1w,label,scan_age,split"
ROWS = (
    "sub-01,a,img/1a.nii.gz,img/1a_t1.mgz,lab/1a.nii.gz,31.5,train",
    "01,b,img/1b.nrrd,,n/a,,train",
    "007,,img/7.nii.gz,,lab/7.nii.gz,40,test",
)


def write(folder: Path, *rows: str, header: str = HEADER, name: str = "scans.csv") -> Path:
    """Write a table and the files that its cells name, each of one byte."""
    for text in (cell for row in rows for cell in row.split(",") if "/" in cell and "." in cell):
        (folder / text).parent.mkdir(exist_ok=True)
        (folder / text).write_bytes(b"x")
    (folder / name).write_text("\n".join([header, *rows, ""]))
    return folder / name


def read(path: Path, space: LabelSpace, **options: Any) -> Cohort:
    asked = {"modalities": ["T2w", "T1w"], "convention": "identity", **options}
    return read_table(path, space, **asked)


def test_scans_of_a_table(tmp_path: Path, drawem9: LabelSpace) -> None:
    cohort = read(write(tmp_path, *ROWS), drawem9)
    last, first, second = cohort.scans
    assert [scan.id for scan in cohort.scans] == ["sub-007", "sub-01_ses-a", "sub-01_ses-b"]
    assert first.images == (tmp_path / "img/1a.nii.gz", tmp_path / "img/1a_t1.mgz")
    assert second.images == (tmp_path / "img/1b.nrrd", None)
    assert (first.label, second.label) == (tmp_path / "lab/1a.nii.gz", None)
    assert (first.scan_age, second.scan_age, last.session) == (31.5, None, None)
    split = split_of(cohort, SplitSettings())
    assert (split.train, split.val, split.test) == (("01",), (), ("007",))
    assert [problem.kind for problem in cohort.problems] == ["no-labels"]


def test_columns_have_names_of_their_own_and_others_are_let_be(tmp_path, drawem9) -> None:
    header, rows = "ID,Image T2,sex", ["5,img/5.nii.gz,f", "6,img/6.nii.gz,m"]
    path = write(tmp_path, *rows, header=header)
    named = {"subject": "id", "T2w": "Image T2"}
    cohort = read(path, drawem9, columns=named, modalities=["T2w"])
    assert split_of(cohort, SplitSettings(fractions=(0.5, 0, 0.5))).train  # drawn
    cohort = read(path, drawem9, columns=named, modalities=["T2w"], exclude=["6"])
    assert [scan.id for scan in cohort.scans] == ["sub-5"]


def test_tabs_and_absolute_paths(tmp_path: Path, drawem9: LabelSpace) -> None:
    there = write(tmp_path, *ROWS).parent / "img/1a.nii.gz"
    path = tmp_path / "scans.tsv"
    path.write_text(f"participant_id\tT2w\n1\t{there}\n")
    cohort = read(path, drawem9, modalities=["T2w"])
    assert cohort.scans[0].images == (there,)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["1,,img/1.nii.gz", "1,,img/2.nii.gz"], ":3, column subject: names sub-1 again, as line"),
        (["1,,"], ":2, column T2w: is empty"),
        (["1,,gone.nii.gz"], ":2, column T2w: .*gone.nii.gz is no file"),
        (["1,,img/1.png"], ":2, column T2w: .*1.png is not named like a volume"),
        (["1,,img/1.nii.gz,,lost.nii.gz"], ":2, column label: .*lost.nii.gz is no file"),
        ([",,img/1.nii.gz"], ":2, column subject: the subject id is ''"),
        (["../1,,img/1.nii.gz"], ":2, column subject: the subject id is"),
        (["1,,img/1.nii.gz,,,,tain"], ":2, column split: found 'tain'"),
        (["1,,img/1.nii.gz,,,,test", "2,,img/1.nii.gz"], ":3, column split: found ''"),
        (
            ["1,a,img/1.nii.gz,,,,test", "", "1,b,img/2.nii.gz,,,,val"],
            ":4, column split: found 'val', and line 2 has 1 in 'test'",
        ),
        ([], "has no rows"),
    ],
)
def test_each_fault_has_its_place(tmp_path, drawem9, rows: list[str], told: str) -> None:
    with pytest.raises(CohortError, match=told):
        read(write(tmp_path, *rows), drawem9, modalities=["T2w"])


def test_all_faults_are_told_at_once_and_can_be_skipped(tmp_path, drawem9) -> None:
    path = write(tmp_path, *ROWS, "8,,,,,,val", "9,,none.nii.gz,,none.nii,12,val")
    with pytest.raises(CohortError) as caught:
        read(path, drawem9)
    found = [problem.where.removeprefix(str(path)) for problem in caught.value.problems]
    assert found == [":5, column T2w", ":6, column T2w", ":6, column label"]
    assert [w.where.removeprefix(str(path)) for w in caught.value.warnings][:1] == [
        ":6, column scan_age"
    ]
    assert len(read(path, drawem9, on_error="skip").scans) == 3


def test_a_column_that_is_not_there(tmp_path: Path, drawem9: LabelSpace) -> None:
    path = write(tmp_path, "1,img/1.nii.gz", header="subject,image")
    with pytest.raises(CohortError, match=r"has no column T2w; it has image, subject.*columns="):
        read(path, drawem9, modalities=["T2w"])
    with pytest.raises(CohortError, match=r"or with cohort.modalities=\[...\] which images"):
        read(path, drawem9, modalities=["T2w"])
    with pytest.raises(CohortError, match="columns: names T3"):
        read(path, drawem9, columns={"T3": "image"})


@pytest.mark.parametrize("subject", ["1,24mo", "sub-1_ses-24mo,"])
def test_ages_that_may_be_months_are_not_used(tmp_path, drawem9, subject: str) -> None:
    rows = [f"{subject},img/1.nii.gz,24", "2,18mo,img/2.nii.gz,18"]
    path = write(tmp_path, *rows, header="subject,session,T2w,scan_age")
    cohort = read(path, drawem9, modalities=["T2w"])
    assert {scan.scan_age for scan in cohort.scans} == {None}
    assert any("ses-18mo, ses-24mo, which may be months" in told for told in cohort.warnings)
    (tmp_path / "scans.json").write_text('{"scan_age": {"Units": "weeks"}}')
    cohort = read(path, drawem9, modalities=["T2w"])
    assert {scan.scan_age for scan in cohort.scans} == {18.0, 24.0}


def test_a_gestational_age_needs_a_word_on_when_it_was(tmp_path, drawem9) -> None:
    header = "subject,T2w,Gestational age"
    path = write(tmp_path, "1,img/1.nii.gz,24.5", header=header)
    cohort = read(path, drawem9, modalities=["T2w"])
    (told,) = [str(p) for p in cohort.problems if p.kind == "missing-age"]
    assert "the column 'gestational age' may be the age at birth or at the scan" in told
    assert cohort.scans[0].scan_age is None
    setting = shlex.split(told.rpartition("if it is the age at the scan, set ")[2])[0]
    parsed = OverridesParser.create().parse_overrides([setting])[0].value()
    asked = {str(key): str(name) for key, name in parsed.items()}
    cohort = read(path, drawem9, modalities=["T2w"], columns=asked)
    assert cohort.scans[0].scan_age == 24.5
    (tmp_path / "scans.json").write_text('{"Gestational age": {"LongName": "GA at MRI"}}')
    cohort = read(path, drawem9, modalities=["T2w"])
    assert cohort.scans[0].scan_age == 24.5
    assert [p.kind for p in cohort.problems] == ["no-labels"]


def test_a_column_annotation_serves_the_plan(tmp_path: Path, drawem9: LabelSpace) -> None:
    rows = ["1,i/1.nii,l/1.nii,full", "2,i/2.nii,l/2.nii,TCV"]
    path = write(tmp_path, *rows, header="subject,T2w,label,annotation")
    row = {"full_fraction": None, "protocol": {"name": "full"}, "file": str(path)}
    cohort = read(path, drawem9, modalities=["T2w"])
    told = with_annotation(cohort, parse_settings(AnnotationSettings, row, "annotation"))
    assert [scan.annotation and scan.annotation.name for scan in told.scans] == ["full", "TCV"]


def test_rows_are_kept_by_a_column(tmp_path, drawem9) -> None:
    rows = ["1,a,i/1.nii,1.5T", "1,b,i/1.nii,3T", "02_ses-c,,i/2.nii,3t"]
    path = write(tmp_path, *rows, header="subject,session,T2w,field")
    cohort = read(path, drawem9, modalities=["T2w"], keep={"field": "3T"})
    assert [scan.id for scan in cohort.scans] == ["sub-02_ses-c", "sub-1_ses-b"]
    rows = ["1,a,i/1.nii,1.0", "1,b,i/1.nii,2", "2,a,i/2.nii,1"]
    path = write(tmp_path, *rows, header="ID,visit,T2w,group")
    named = {"subject": "ID", "session": "visit"}
    cohort = read(path, drawem9, modalities=["T2w"], columns=named, keep={"group": [1]})
    assert [scan.id for scan in cohort.scans] == ["sub-1_ses-a", "sub-2_ses-a"]


def test_a_cell_names_the_structures_that_were_not_drawn(tmp_path, drawem9) -> None:
    rows = ["1,i/1.nii,l/1.nii,", "2,i/2.nii,l/2.nii,Brainstem; TCV"]
    path = write(tmp_path, *rows, header="subject,T2w,label,not_drawn")
    cohort = read(path, drawem9, modalities=["T2w"], not_drawn={"CSF": ["1"]})
    csf, both = drawem9.label_set("CSF"), drawem9.label_set(["BS", "TCV"])
    assert [scan.not_drawn for scan in cohort.scans] == [csf, both]
    path = write(tmp_path, "1,i/1.nii,l/1.nii,Brainsten", header="subject,T2w,label,not_drawn")
    with pytest.raises(CohortError, match=r"column not_drawn: .*did you mean 'brainstem'"):
        read(path, drawem9, modalities=["T2w"])
