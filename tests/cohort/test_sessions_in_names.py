"""Names that tell a session: sessions of one person must not become people of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neoseg.cohort import CohortError, read_freesurfer, read_nnunet
from neoseg.cohort.patterns import read_folder
from neoseg.cohort.scan import ids_in
from neoseg.cohort.scan_table import read_table
from neoseg.cohort.split import make_split
from neoseg.configuration.config import CONFIG_DIR
from neoseg.labels import LabelSpace, LabelTable


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("sub-01_ses-2", ("01", "2")),
        ("A_b_ses-2", ("A_b", "2")),
        ("sub-01_ses-2_run-1", ("01", "2_run-1")),
        ("case_ses", ("case_ses", None)),
        ("sub-01_run-2", ("01", "run-2")),
        ("01_acq-tse_run-1", ("01", "acq-tse_run-1")),
        ("a_run_2", ("a_run_2", None)),
        ("_ses-2", ("_ses-2", None)),
        ("hip_001", ("hip_001", None)),
    ],
)
def test_ids_in_a_name(name: str, ids: tuple[str, str | None]) -> None:
    assert ids_in(name) == ids


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


IDS = ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
PARTS = ("train", "test", "test")


def test_nnunet(tmp_path: Path) -> None:
    table = LabelTable.read(CONFIG_DIR / "labels" / "hippocampus.yaml")
    for name in IDS:
        touch(tmp_path / f"imagesTr/{name}_0000.nii.gz", tmp_path / f"labelsTr/{name}.nii.gz")
    described = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    cohort = read_nnunet(tmp_path, LabelSpace.from_table(table))
    assert [scan.id for scan in cohort.scans] == IDS
    assert [scan.label and scan.label.name for scan in cohort.scans] == [
        f"{name}.nii.gz" for name in IDS
    ]
    split = make_split(cohort.scans, (0.5, 0.0, 0.5))
    assert {*split.train, *split.test} == {"01", "02"}
    touch(tmp_path / "imagesTr/sub-01_ses1_0000.nii.gz", tmp_path / "imagesTr/01_ses-1_0000.nii.gz")
    with pytest.raises(CohortError, match="differ in signs alone"):
        read_nnunet(tmp_path, LabelSpace.from_table(table))


def test_patterns(tmp_path: Path, drawem9: LabelSpace) -> None:
    for name in IDS:
        touch(tmp_path / f"images/{name}_T2w.nii.gz", tmp_path / f"labels/{name}_seg.nii.gz")
    cohort = read_folder(tmp_path, drawem9, labels="labels/{subject}_seg", convention="identity")
    assert [scan.id for scan in cohort.scans] == IDS
    assert all(scan.label and scan.id in scan.label.name for scan in cohort.scans)


def test_tables(tmp_path: Path, drawem9: LabelSpace) -> None:
    for name in IDS:
        touch(tmp_path / f"{name}.nii.gz")
    path = tmp_path / "scans.csv"
    rows = [f"{name},{name}.nii.gz" for name in IDS]
    path.write_text("\n".join(["subject,T2w", *rows]) + "\n")
    assert [scan.id for scan in read_table(path, drawem9).scans] == IDS
    rows = [f"{name},{name}.nii.gz,{part}" for name, part in zip(IDS, PARTS, strict=True)]
    path.write_text("\n".join(["subject,T2w,split", *rows]) + "\n")
    with pytest.raises(CohortError, match="one part for all scans of a subject"):
        read_table(path, drawem9)


def test_freesurfer(tmp_path: Path) -> None:
    """Visits, their longitudinal folders and the template of each person."""
    aseg = LabelSpace.from_table(LabelTable.read(CONFIG_DIR / "labels" / "aseg.yaml"))
    folders = {
        "sub-01_ses-1": "sub-01_ses-1",
        "sub-01_ses-2": "sub-01_ses-2",
        "sub-01_ses-1.long.sub-01_base": "sub-01_ses-1long",
        "sub-01_base": "sub-01_ses-base",
        "bert_t1.long.bert": "sub-bert_ses-t1long",
        "bert_t2.long.bert": "sub-bert_ses-t2long",
        "bert_t1": "sub-bert_ses-t1",
        "bert": "sub-bert_ses-base",
        "ernie": "sub-ernie",
    }

    for name in folders:
        touch(tmp_path / name / "mri" / "T1.mgz", tmp_path / name / "mri" / "aseg.mgz")
    cohort = read_freesurfer(tmp_path, aseg)
    found = {scan.images[0].parts[-3]: scan.id for scan in cohort.scans if scan.images[0]}
    assert found == folders
    assert cohort.subjects == ("01", "bert", "ernie")


def test_folders_of_one_visit_are_an_error(tmp_path: Path) -> None:
    aseg = LabelSpace.from_table(LabelTable.read(CONFIG_DIR / "labels" / "aseg.yaml"))
    for name in ("S1-1", "S1_1", "S1-1.long.S1", "S1_1.long.S1", "x.long."):
        touch(tmp_path / name / "mri" / "T1.mgz", tmp_path / name / "mri" / "aseg.mgz")
    with pytest.raises(CohortError, match=r"are both sub-S1_ses-1") as caught:
        read_freesurfer(tmp_path, aseg)
    assert len(caught.value.problems) == 2


def test_scans_and_people_can_be_left_out_by_either_name(tmp_path: Path) -> None:
    table = LabelTable.read(CONFIG_DIR / "labels" / "hippocampus.yaml")
    space = LabelSpace.from_table(table)
    for name in IDS:
        touch(tmp_path / f"imagesTr/{name}_0000.nii.gz", tmp_path / f"labelsTr/{name}.nii.gz")
    described = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(described))

    def ids(**options: object) -> list[str]:
        return [scan.id for scan in read_nnunet(tmp_path, space, **options).scans]

    assert ids(exclude=["01_ses-2"]) == [IDS[0], IDS[2]]
    assert ids(exclude=["sub-01"]) == [IDS[2]]
    assert ids(subjects=["sub-01_ses-2", "02"]) == IDS[1:]
    for options in ({"exclude": ["sub01ses1"]}, {"subjects": ["02", "01ses1"]}):
        with pytest.raises(CohortError, match=r"names .*01ses1, which the cohort "):
            ids(**options)
    cohort = read_nnunet(tmp_path, space, exclude=["01_ses-9"])
    assert "names the scan 01_ses-9" in str(cohort.problems[0])
