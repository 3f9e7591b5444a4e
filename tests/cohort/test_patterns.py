"""Cohorts by patterns of file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.cohort import CohortError, read_folder
from neoseg.labels import LabelSpace

OPTIONS = {"modalities": ["T2w", "T1w"], "convention": "identity"}


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_images_and_labels_in_two_folders(tmp_path: Path, drawem9: LabelSpace) -> None:
    names = ["images/a_b_T2w.nii.gz", "images/a_b_T1w.mgz", "images/c_T2w.nrrd", "labels/c.mha"]
    hidden = ["images/._c_T2w.nii.gz", "images/notes_T2w.txt", "labels/d.nii.gz"]
    cohort = read_folder(make(tmp_path, *names, *hidden), drawem9, **OPTIONS)
    first, second = cohort.scans
    assert (first.id, second.id) == ("sub-a_b", "sub-c")
    assert first.images == (tmp_path / names[0], tmp_path / names[1])
    assert (first.label, second.label) == (None, tmp_path / names[3])
    assert second.images == (tmp_path / names[2], None)
    assert [problem.kind for problem in cohort.problems] == ["foreign-file", "no-labels"]
    assert "labels/d.nii.gz" in cohort.problems[0].found


def test_sessions_stars_and_parts_that_stand_twice(tmp_path: Path, drawem9: LabelSpace) -> None:
    names = [f"sub-1/ses-{n}/x{n}/1_{n}_T2w.nii.gz" for n in "ab"]
    make(tmp_path, *names, "sub-1/1_seg.nii.gz", "sub-1/ses-a/x/2_a_T2w.nii.gz")
    patterns = {
        "images": "sub-{subject}/ses-{session}/*/{subject}_{session}_{modality}.nii.gz",
        "labels": "sub-{subject}/*_seg.nii.gz",
    }
    cohort = read_folder(tmp_path, drawem9, **patterns, convention="identity")
    assert [scan.id for scan in cohort.scans] == ["sub-1_ses-a", "sub-1_ses-b"]
    assert {scan.label for scan in cohort.scans} == {tmp_path / "sub-1/1_seg.nii.gz"}


def test_segmentations_of_slicer_are_labels(tmp_path: Path, drawem9: LabelSpace) -> None:
    make(tmp_path, "images/a_T2w.nii.gz", "labels/a.seg.nrrd")
    (scan,) = read_folder(tmp_path, drawem9, convention="identity").scans
    assert scan.label == tmp_path / "labels" / "a.seg.nrrd"


def test_labels_beside_the_images_are_no_images(tmp_path: Path, drawem9: LabelSpace) -> None:
    make(tmp_path, "1.nii", "1_seg.nii", "2.nii", "1_mask.nii")
    patterns = {"images": "{subject}", "labels": "{subject}_seg", "masks": "{subject}_mask"}
    cohort = read_folder(tmp_path, drawem9, **patterns, convention="identity", subjects=["1"])
    assert [scan.id for scan in cohort.scans] == ["sub-1"]
    assert cohort.scans[0].mask == tmp_path / "1_mask.nii"


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        ([], {}, r"holds no images; expected files such as images/<subject>_T2w\.nii\.gz"),
        (
            ["a/B_T1.mgz", "a/C_T1.mgz", "b.nii"],
            {},
            r"holds no images that fit, but a/B_T1\.mgz, b\.nii; expected files such as",
        ),
        (["images/a_T2w.nii", "images/a_T2w.nii.gz"], {}, r"both fit images/\{subject\}"),
        ([], {"images": "{subjekt}_{modality}"}, r"cohort\.images: is '{subjekt}"),
        ([], {"images": "{subject}"}, r"expected a path .* with \{subject\} and \{modality\}"),
        ([], {"labels": "../{subject}"}, r"cohort\.labels: is '\.\./\{subject\}'"),
        (["images/a_T2w.nii"], {"convention": {1: "nothing"}}, "no leaf or class 'nothing'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, drawem9, names, options, told) -> None:
    with pytest.raises(CohortError, match=told):
        read_folder(make(tmp_path, *names), drawem9, **{**OPTIONS, **options})


def test_other_words_for_modalities(tmp_path: Path, drawem9: LabelSpace) -> None:
    names = ["images/a_t2.nii.gz", "images/a_T1.nii.gz"]
    cohort = read_folder(
        make(tmp_path, *names), drawem9, **OPTIONS, names={"T2w": "t2", "T1w": "T1"}
    )
    assert cohort.scans[0].images == tuple(tmp_path / name for name in names)
    assert cohort.modalities == ("T2w", "T1w")


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["B-01-000", "B-01-001", "B-02-000"], "B-01-000 and B-01-001 look like"),
        (
            ["OAS2_0001_MR1", "OAS2_0001_MR2", "OAS2_0004_MR1"],
            "OAS2_0001_MR1 and OAS2_0001_MR2 look",
        ),
        (["A1V1_sa_ED", "A1V1_sa_ES", "A2V1_sa_ED"], "A1V1_sa_ED and A1V1_sa_ES look"),
        (["inf01_6mo", "inf01_12mo", "inf02_6mo"], "inf01_12mo and inf01_6mo look"),
        (["left_9001", "right_9001", "left_9002"], "left_9001 and right_9001 look"),
        (["c10_24w3d", "c10_30w", "c2_24w"], "c10_24w3d and c10_30w look"),
        (["c1_24+3", "c1_30+1", "c2_20+1"], "c1_24+3 and c1_30+1 look"),
        (["c1_20210314", "c1_20210401", "c2_20210102"], "c1_20210314 and c1_20210401 look"),
        (["010w24", "010w30", "011w24"], "010w24 and 010w30 look"),
        (["1_MR_d0129", "1_MR_d0757", "2_MR_d0001"], "1_MR_d0129 and 1_MR_d0757 look"),
        (["7-2021-03-14", "7-2022-01-02", "8-2021-01-01"], "7-2021-03-14 and 7-2022-01-02 look"),
        (["103818_3T", "103818_7T", "111312_3T"], "103818_3T and 103818_7T look"),
        (["010v1", "010v2", "011v1"], "010v1 and 010v2 look"),
        (["c1_mial", "c1_irtk", "c2_mial"], "c1_irtk and c1_mial look"),
        (["07a", "07b", "08a"], "07a and 07b look"),
        (["site1_smith", "site1_jones", "site2_meyer"], ""),
        (["CC00001XX01", "CC00002XX02", "CC00003XX03"], ""),
        (["case_001", "case_002", "case_003"], ""),  # numbers of people
        (["01-001", "01-002", "01-003", "02-001", "02-002"], ""),  # of two hospitals
        (["p1", "p2"], ""),
    ],
)
def test_ids_of_one_person_at_several_times(tmp_path, drawem9, ids, told) -> None:
    cohort = read_folder(
        make(tmp_path, *(f"images/{name}_T2w.nii" for name in ids)),
        drawem9,
        modalities=["T2w"],
        convention="identity",
    )
    found = [problem.found for problem in cohort.problems if problem.kind == "alike-ids"]
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_files_that_cannot_be_read_concern_their_scan(tmp_path: Path, drawem9) -> None:
    make(tmp_path, "images/a_T2w.nii", "images/b_T2w.nii", "labels/a.nii")
    (tmp_path / "labels/a.nii").write_bytes(b"")
    (tmp_path / "labels/b.nii").symlink_to(tmp_path / "gone.nii")
    with pytest.raises(CohortError, match=r"a\.nii: is empty[\s\S]*b\.nii: is a link to a file"):
        read_folder(tmp_path, drawem9, **OPTIONS)


def test_dicom_is_told_with_the_line_that_converts_it(tmp_path: Path, drawem9) -> None:
    make(tmp_path, "series 1/IM0001")
    (tmp_path / "series 1/IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(CohortError, match="dcm2niix -z y -f %i_%p_%s -o nifti"):
        read_folder(tmp_path, drawem9, **OPTIONS)
