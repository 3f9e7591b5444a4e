"""Folders of nnU-Net and of the Medical Segmentation Decathlon, as they lie on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neoseg.cohort import CohortError, read_nnunet
from neoseg.configuration.config import CONFIG_DIR
from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.protocol import Protocol


@pytest.fixture
def two() -> LabelSpace:
    return LabelSpace.from_table(LabelTable.read(CONFIG_DIR / "labels" / "hippocampus.yaml"))


def folder(root: Path, described: object, images: list[str], labels: list[str]) -> Path:
    for name in [*(f"imagesTr/{i}" for i in images), *(f"labelsTr/{i}" for i in labels)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "dataset.json").write_text(json.dumps(described))
    return root


DECATHLON = {
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
}
NNUNET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "whole": [1, 2], "Anterior": 1, "Posterior": 2, "ignore": 3},
    "file_ending": ".nii.gz",
}


def test_the_decathlons_folder(tmp_path, two) -> None:
    files = ["hip_001.nii.gz", "hip_004.nii.gz", "._hip_001.nii.gz"]
    cohort = read_nnunet(
        folder(tmp_path, DECATHLON, files, ["hip_001.nii.gz"]), two, modalities=["MRI"]
    )
    assert [scan.id for scan in cohort.scans] == ["sub-hip001", "sub-hip004"]
    first, second = cohort.scans
    assert first.images == (tmp_path / "imagesTr/hip_001.nii.gz",)
    assert first.label == tmp_path / "labelsTr/hip_001.nii.gz"
    assert second.label is None
    assert cohort.convention.values == (0, 1, 2)
    assert cohort.convention.sets == (frozenset({0}), frozenset({1}), frozenset({2}))
    assert [p.kind for p in cohort.problems] == ["no-labels"]


def test_channels_by_name_or_number_and_the_ignore_label(tmp_path, two) -> None:
    files = [f"case_{n}_000{c}.nii.gz" for n in (1, 2) for c in (0, 1)]
    root = folder(tmp_path, NNUNET, files[:3], ["case_1.nii.gz", "case_2.nii.gz"])
    cohort = read_nnunet(root, two, modalities=["0", "T2"])
    assert [scan.subject for scan in cohort.scans] == ["case1", "case2"]
    assert [path and path.name for path in cohort.scans[0].images] == files[:2]
    assert cohort.scans[1].images[1] is None
    meaning = dict(zip(cohort.convention.values, cohort.convention.sets, strict=True))
    assert meaning[3] == two.everything
    assert meaning[1] == {1}
    assert Protocol.full(two).apply(meaning[3]) == two.everything


def test_volumes_of_any_ending_take_part(tmp_path, two) -> None:
    images = ["a.nii.gz", "a.nrrd", "b.nrrd", "c.mha"]
    root = folder(tmp_path, DECATHLON, images, ["a.nrrd", "c.nii"])
    scans = read_nnunet(root, two, modalities=["0"]).scans
    assert [scan.images[0].name for scan in scans] == ["a.nii.gz", "b.nrrd", "c.mha"]
    assert [scan.label and scan.label.name for scan in scans] == ["a.nrrd", None, "c.nii"]
    folder(tmp_path, {**DECATHLON, "file_ending": ".nrrd"}, [], [])
    scans = read_nnunet(root, two, modalities=["0"]).scans
    assert [scan.images[0].name for scan in scans] == ["a.nrrd", "b.nrrd"]


def test_other_names_need_a_convention(tmp_path, two) -> None:
    described = {**DECATHLON, "labels": {"0": "background", "1": "head", "2": "tail"}}
    root = folder(tmp_path, described, ["a.nii.gz"], ["a.nii.gz"])
    with pytest.raises(CohortError, match="head") as error:
        read_nnunet(root, two, modalities=["0"])
    assert "ANT" in str(error.value)
    told = read_nnunet(root, two, modalities=["0"], convention={0: "BG", 1: "ANT", 2: "POST"})
    assert told.convention.sets[1] == {1}
    same = read_nnunet(root, two, modalities=["0"], convention="identity")
    assert same.convention.values == tuple(leaf.index for leaf in two.leaves)
    with pytest.raises(CohortError, match="found 'same'; expected a mapping, 'identity' or null"):
        read_nnunet(root, two, modalities=["0"], convention="same")


@pytest.mark.parametrize(
    ("described", "images", "modality", "words"),
    [
        (DECATHLON, ["a.nii.gz"], "T9", "has no channel 'T9'"),
        (DECATHLON, [], "0", "holds no images"),
        ([], ["a.nii.gz"], "0", "is no such description"),
        (DECATHLON, ["a_b.nii.gz", "ab.nii.gz"], "0", "differ in signs alone"),
        (NNUNET, ["a_0001.nii.gz"], "T1", "has no channel T1 of case a"),
        (NNUNET, ["a.nii.gz"], "T1", r"2 channels, T1, T2; .* such as a_0000\.nii\.gz; split them"),
        ({**DECATHLON, "file_ending": ".png"}, ["a.png"], "0", "has the file_ending '.png'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, two, described, images, modality, words) -> None:
    with pytest.raises(CohortError, match=words):
        read_nnunet(folder(tmp_path, described, images, []), two, modalities=[modality])


def test_what_channels_and_cases_are_called(tmp_path, two) -> None:
    files = [f"BraTS-0001-00{n}_000{c}.nii.gz" for n in (0, 1) for c in (0, 1)]
    cases = ("BraTS-0002-000", "sub-1_ses-pre", "sub-1_ses-post")
    files += [f"{case}_0000.nii.gz" for case in cases]
    cohort = read_nnunet(
        folder(tmp_path, NNUNET, files, []),
        two,
        modalities=["T2w", "T1w"],
        names={"T1w": "T1", "T2w": "T2"},
        subjects=["BraTS0001000", "BraTS0001001"],
    )
    assert [image and image.name for image in cohort.scans[0].images] == [files[1], files[0]]
    (alike,) = [problem for problem in cohort.problems if problem.kind == "alike-ids"]
    assert alike.found.startswith("BraTS-0001-000 and BraTS-0001-001 look like scans of one person")


def test_a_folder_without_a_description(tmp_path, two) -> None:
    with pytest.raises(CohortError, match=r"dataset\.json.*cannot be read"):
        read_nnunet(tmp_path, two, modalities=["0"])


def test_the_real_hippocampi(two) -> None:
    root = Path(__file__).parents[3] / "shared" / "data" / "hippocampus"
    if not root.is_dir():
        pytest.skip("the hippocampi of the Medical Decathlon are not there")
    cohort = read_nnunet(root, two, modalities=["0"], max_subjects=5)
    assert [scan.subject for scan in cohort.scans][:2] == ["hippocampus001", "hippocampus004"]
    assert all(scan.label is not None for scan in cohort.scans)
