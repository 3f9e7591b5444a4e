from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohort_trees import FILES, add_scan, add_table, make_bids, write_names
from hydra.core.override_parser.overrides_parser import OverridesParser

from neoseg.cohort import Cohort, CohortError, read_bids
from neoseg.findings.problems import Problem
from neoseg.labels import LabelSpace


def test_alike_ids_are_told_once(tmp_path: Path, drawem9: LabelSpace) -> None:
    for subject, session in (("01", "a"), ("1", "b"), ("02", "1"), ("02", "01")):
        add_scan(tmp_path, subject, session, FILES)
    problems = read_bids(tmp_path, drawem9).problems
    found = [(p.kind, p.where, p.found) for p in problems if "alone" in p.found]
    assert found == [
        ("alike-ids", "subjects", "01 and 1 differ in zeros or capitals alone"),
        (
            "duplicate-scan",
            "sessions",
            "sub-02_ses-01 and sub-02_ses-1 differ in zeros or capitals alone",
        ),
    ]


def test_the_real_scans(real_scans: Path, fidon8: LabelSpace) -> None:
    cohort = read_bids(real_scans, fidon8, name="fetal")
    assert len(cohort.scans) == 15
    assert cohort.warnings == ()
    assert cohort.convention.values == tuple(range(9))
    assert cohort.convention.sets == tuple(frozenset([k]) for k in range(9))
    first = cohort.scans[0]
    assert (first.id, first.scan_age, first.age_group) == ("sub-GA21notop", 21.0, "preterm")
    assert all(scan.images[0] and scan.label and scan.mask for scan in cohort.scans)


def test_the_real_labels_are_in_the_convention(real_scans: Path, fidon8: LabelSpace) -> None:
    nibabel = pytest.importorskip("nibabel")
    cohort = read_bids(real_scans, fidon8, max_subjects=1)
    path = cohort.scans[0].label
    codes = cohort.convention.encode(np.asarray(nibabel.load(path).dataobj), str(path))
    assert set(np.unique(codes)) == set(range(9))


def test_the_real_scans_as_partial_labels_of_the_tissues(
    real_scans: Path, drawem9: LabelSpace
) -> None:
    with pytest.raises(CohortError, match=r"1 problem:") as caught:
        read_bids(real_scans, drawem9)
    for name in ("'Intra-axial CSF'", "'External CSF'", "'Corpus callosum'"):
        assert name in str(caught.value)
    meaning: dict[int, Any] = {0: ["BG", "BKG"], 1: "WM", 2: "VENT", 3: "CBM", 4: "CSF"}
    meaning |= {5: ["cGM", "HA"], 6: "dGM", 7: "BS", 8: "WM"}
    convention = read_bids(real_scans, drawem9, convention=meaning).convention
    assert convention.sets[0] == drawem9.label_set(["BG", "BKG"])
    assert convention.sets[8] == convention.sets[1] == drawem9.label_set("WM")


def test_sessions_are_optional(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    cohort = read_bids(tmp_path, drawem9)
    assert [(s.id, s.scan_age) for s in cohort.scans] == [
        ("sub-01", 28.1),
        ("sub-02_ses-a", None),
        ("sub-02_ses-b", None),
    ]
    assert cohort.scans[0].label == tmp_path / "sub-01/anat/sub-01_desc-manual_dseg.nii.gz"
    assert cohort.scans[0].mask == tmp_path / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"


def test_ages_of_sessions_in_participants(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    add_table(
        tmp_path / "participants.tsv",
        "participant_id session_id scan_age",
        "02 ses-a 30",
        "02 b 40",
        "01 n/a 33",
    )
    ages = {scan.id: scan.scan_age for scan in read_bids(tmp_path, drawem9).scans}
    assert ages == {"sub-01": 33.0, "sub-02_ses-a": 30.0, "sub-02_ses-b": 40.0}


def test_the_only_label_is_taken_and_several_are_ambiguous(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_bids(tmp_path, (*FILES, "desc-auto_dseg"))
    with pytest.raises(CohortError) as caught:
        read_bids(tmp_path, drawem9)
    text = str(caught.value)
    assert "desc-auto_dseg, desc-manual_dseg (3 sessions are like this)" in text
    assert "set cohort.label_desc=auto or cohort.label_desc=manual" in text
    assert len(caught.value.problems) == 1
    cohort = read_bids(tmp_path, drawem9, label_desc="auto")
    assert all("desc-auto" in str(scan.label) for scan in cohort.scans)
    with pytest.raises(CohortError, match=r"no label file has desc-gold.*one of auto, manual"):
        read_bids(tmp_path, drawem9, label_desc="gold")


def test_scans_without_labels_are_unlabelled(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    add_scan(tmp_path, "03", None, ["T2w"])
    cohort = read_bids(tmp_path, drawem9, label_desc="manual")
    assert [(s.id, s.mask) for s in cohort.scans if s.label is None] == [("sub-03", None)]
    assert any("1 of 4 scans have no label file: sub-03" in w for w in cohort.warnings)


def test_images_are_chosen_by_desc(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path, (*FILES, "desc-restore_T2w"))
    plain = read_bids(tmp_path, drawem9)
    assert ["desc-" in str(s.images[0]) for s in plain.scans] == [False] * 3
    restored = read_bids(tmp_path, drawem9, image_desc="restore")
    assert ["_desc-restore_T2w" in str(s.images[0]) for s in restored.scans] == [True] * 3
    with pytest.raises(CohortError, match="has no T2w with desc-other"):
        read_bids(tmp_path, drawem9, image_desc="other")


def taken(cohort: Cohort, subject: str) -> list[str | None]:
    """Return what follows the subject in the names of the files that a scan has."""
    scan = next(scan for scan in cohort.scans if scan.subject == subject)
    names = [path and path.name.split(".")[0] for path in (*scan.images, scan.label, scan.mask)]
    return [name and name.removeprefix(f"sub-{subject}_") for name in names]


def test_runs_are_picked_by_the_key_that_the_message_names(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_bids(tmp_path)
    runs = [f"run-0{run}_{name}" for run in (1, 2) for name in FILES]
    add_scan(tmp_path, "04", None, runs)
    with pytest.raises(CohortError, match=r"sub-04/anat: .*run-01_T2w, run-02_T2w ") as caught:
        read_bids(tmp_path, drawem9)
    (told,) = caught.value.problems
    lines = told.action.split("'")[1::2]
    assert lines == [f"cohort.image_entities={{run: {run}}}" for run in (1, 2)]
    assert "move" not in told.action
    for run, line in enumerate(lines, start=1):
        picked = OverridesParser.create().parse_override(line).value()
        cohort = read_bids(tmp_path, drawem9, image_entities=picked)
        names = ["T2w", "desc-manual_dseg", "desc-brain_mask"]
        assert taken(cohort, "04") == [f"run-0{run}_{name}" for name in names]
        assert taken(cohort, "01") == names  # which has one run, without a number
    with pytest.raises(CohortError, match=r"has no T2w with run-3") as caught:
        read_bids(tmp_path, drawem9, image_entities={"run": 3})
    assert [problem.scans for problem in caught.value.problems] == [("sub-04",)]


def test_the_native_image_is_taken(tmp_path: Path, drawem9: LabelSpace) -> None:
    template = [f"space-MNI_{name}" for name in FILES]
    make_bids(tmp_path, (*FILES, *template))
    modalities = ["T2w", "T1w"]
    add_scan(tmp_path, "01", None, ["T1w", "space-T2w_T1w", "space-MNI_T1w"])
    native = read_bids(tmp_path, drawem9, modalities=modalities)
    assert taken(native, "01") == ["T2w", "space-T2w_T1w", "desc-manual_dseg", "desc-brain_mask"]
    moved = read_bids(tmp_path, drawem9, modalities=modalities, image_entities={"space": "MNI"})
    names = ["T2w", "T1w", "desc-manual_dseg", "desc-brain_mask"]
    assert taken(moved, "01") == [f"space-MNI_{name}" for name in names]
    add_scan(tmp_path, "05", None, ["space-MNI_T2w"])
    assert taken(read_bids(tmp_path, drawem9), "05") == ["space-MNI_T2w", None, None]
    with pytest.raises(CohortError, match=r"has no T2w with no space-"):
        read_bids(tmp_path, drawem9, image_entities={"space": None})


def test_labels_of_another_run_are_not_taken(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    add_scan(tmp_path, "04", None, ["run-1_T2w", "run-2_desc-manual_dseg", "acq-a_desc-brain_mask"])
    assert taken(read_bids(tmp_path, drawem9), "04") == ["run-1_T2w", None, "acq-a_desc-brain_mask"]


def test_a_modality_may_have_entities(tmp_path: Path, drawem9: LabelSpace) -> None:
    """As of images before and after a contrast agent."""
    add_scan(tmp_path, "01", None, ("T1w", "ce-gd_acq-x_T1w", "FLAIR"))
    add_scan(tmp_path, "02", None, ("T1w",))
    cohort = read_bids(tmp_path, drawem9, modalities=["T1w", "ce-gd_T1w", "FLAIR"])
    names = [[p and p.name.split("_", 1)[1][:-7] for p in scan.images] for scan in cohort.scans]
    assert names == [["T1w", "ce-gd_acq-x_T1w", "FLAIR"], ["T1w", None, None]]
    (first,) = read_bids(tmp_path, drawem9, modalities=["ce-gd_T1w", "T1w"], subjects=["01"]).scans
    assert [p and p.name for p in first.images] == [
        "sub-01_ce-gd_acq-x_T1w.nii.gz",
        "sub-01_T1w.nii.gz",
    ]


def test_an_image_without_the_wanted_entity_is_told(tmp_path: Path, drawem9: LabelSpace) -> None:
    add_scan(tmp_path, "01", None, ("T1w", "ce-gd_T1w"))
    add_scan(tmp_path, "02", None, ("T1w",))
    options = {"modalities": ["T1w"], "image_entities": {"ce": "gd"}}
    problems = read_bids(tmp_path, drawem9, **options).problems
    (told,) = [problem for problem in problems if problem.kind == "missing-image"]
    assert "sub-02" in told.where
    assert "has no T1w with ce-gd, and the one without is taken (1 sessions" in told.found
    options = {"modalities": ["T1w"], "image_entities": {"run": 1, "ce": None}}
    problems = read_bids(tmp_path, drawem9, **options).problems
    assert "missing-image" not in {problem.kind for problem in problems}


def test_label_files_are_picked_by_entities_too(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path, ("T2w", "atlas-a_dseg", "atlas-b_dseg"))
    with pytest.raises(CohortError, match=r"label_entities=\{atlas: a\}' or 'cohort\.label_ent"):
        read_bids(tmp_path, drawem9)
    cohort = read_bids(tmp_path, drawem9, label_entities={"atlas": "b"})
    assert taken(cohort, "01") == ["T2w", "atlas-b_dseg", None]


def test_packed_and_unpacked_files(tmp_path: Path, drawem9: LabelSpace) -> None:
    add_scan(tmp_path, "01", None, FILES, ".nii")
    assert str(read_bids(tmp_path, drawem9).scans[0].images[0]).endswith("_T2w.nii")
    add_scan(tmp_path, "01", None, FILES, ".nii.gz")
    assert str(read_bids(tmp_path, drawem9).scans[0].images[0]).endswith("_T2w.nii.gz")


def test_files_of_another_scan_are_not_taken(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    (tmp_path / "sub-01/anat/sub-99_T2w.nii.gz").write_bytes(b"nifti")
    cohort = read_bids(tmp_path, drawem9)
    assert len(cohort.scans) == 3
    assert any("sub-99_T2w.nii.gz" in warning for warning in cohort.warnings)


@pytest.mark.parametrize(
    ("labels", "other", "setting"),
    [
        ("space-MNI_dseg", "space-MNI_T2w", {"space": "MNI"}),
        ("acq-B_dseg", "acq-B_T2w", {"acq": "B"}),
    ],
)
def test_labels_of_another_image_are_not_taken(
    tmp_path: Path, drawem9: LabelSpace, labels: str, other: str, setting: dict[str, str]
) -> None:
    image = "T2w" if "space" in setting else "acq-A_T2w"
    for name in (image, other, labels, "space-T2w_desc-brain_mask"):
        path = tmp_path / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    first = {} if "space" in setting else {"image_entities": {"acq": "A"}}
    (scan,) = (cohort := read_bids(tmp_path, drawem9, **first)).scans
    assert scan.images[0] is not None
    assert scan.images[0].name == f"sub-01_{image}.nii.gz"
    assert scan.label is None
    assert scan.mask is not None
    told = [problem for problem in cohort.problems if problem.kind == "other-space"]
    assert ["'cohort.image_entities={space: MNI}'" in p.action for p in told] == [True] * len(told)
    assert len(told) == ("space" in setting)
    (scan,) = read_bids(tmp_path, drawem9, image_entities=setting).scans
    assert scan.label is not None


def test_a_space_that_is_asked_for_or_that_of_the_scan_is_taken(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    for name in ("T2w", "space-MNI_dseg", "space-orig_desc-brain_mask"):
        (folder / f"sub-01_{name}.nii.gz").write_bytes(b"x")
    cohort = read_bids(tmp_path, drawem9, label_entities={"space": "MNI"})
    assert cohort.scans[0].label == folder / "sub-01_space-MNI_dseg.nii.gz"
    assert cohort.scans[0].mask == folder / "sub-01_space-orig_desc-brain_mask.nii.gz"


def raw_tree(root: Path) -> Path:
    """Raw images of two sessions and one person without, and two raters below derivatives."""
    for scan in ("sub-01/ses-1", "sub-01/ses-2", "sub-02"):
        stem = scan.replace("/", "_")
        touch = [root / scan / "anat" / f"{stem}_T2w.nii.gz"]
        for rater in ("manual", "raterB"):
            folder = root / "derivatives" / rater / scan / "anat"
            touch.append(folder / f"{stem}_desc-{rater}_dseg.nii.gz")
        touch.append(folder.parents[1] / scan.split("/")[-1] / "anat" / "notes.txt")
        for path in touch:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    (root / "derivatives/manual/sub-02/anat/sub-02_desc-brain_mask.nii.gz").write_bytes(b"x")
    write_names(root / "derivatives/manual/dseg.tsv", "1\tWhite matter\t")
    write_names(root / "derivatives/raterB/dseg.tsv", "1\tCortical grey matter\tcGM")
    return root


def test_labels_in_another_data_set(tmp_path: Path, drawem9: LabelSpace) -> None:
    root = raw_tree(tmp_path)
    (problem,) = [p for p in read_bids(root, drawem9).problems if p.kind == "no-labels"]
    lines = re.findall(r"cohort\.labels=(\S+)", problem.found.split(": sub-")[0])
    assert lines == ["derivatives/manual", "derivatives/raterB"]
    for name, structure in zip(lines, ("WM", "cGM"), strict=True):
        cohort = read_bids(root, drawem9, labels=name)
        assert [scan.id for scan in cohort.scans] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
        for scan in cohort.scans:
            assert scan.label is not None
            assert scan.label.is_relative_to(root / name)
            assert scan.images[0] is not None
            assert scan.images[0].parent.parent == root / scan.id.replace("_", "/")
        assert cohort.convention.sets[1] == drawem9.label_set(structure)
        assert "guessed-meaning" not in {p.kind for p in cohort.problems}
    masks = [scan.mask for scan in read_bids(root, drawem9, labels=lines[0]).scans]
    assert [mask and mask.name for mask in masks] == [None, None, "sub-02_desc-brain_mask.nii.gz"]
    absolute = read_bids(root, drawem9, labels=str(root / lines[0]))
    assert absolute == read_bids(root, drawem9, labels=lines[0])


def test_labels_in_a_folder_that_has_none(tmp_path: Path, drawem9: LabelSpace) -> None:
    root = raw_tree(tmp_path)
    with pytest.raises(CohortError, match=r"derivatives/no: is not a folder; .*set cohort\.labels"):
        read_bids(root, drawem9, labels="derivatives/no")
    with pytest.raises(CohortError, match=r"holds label files and no T2w.*cohort\.labels to this"):
        read_bids(root / "derivatives/manual", drawem9)


@pytest.mark.parametrize("suffix", ["dseg", "mask"])
def test_files_of_single_structures_are_no_label_maps(
    tmp_path: Path, drawem9: LabelSpace, suffix: str
) -> None:
    for name in ("T2w", f"label-WM_{suffix}", f"label-cGM_{suffix}", "label-brain_mask"):
        path = tmp_path / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    advice = "write them into one label map"
    if suffix == "dseg":
        with pytest.raises(CohortError, match=advice) as caught:
            read_bids(tmp_path, drawem9)
        assert "label_entities" not in str(caught.value)
    else:
        (problem,) = [p for p in read_bids(tmp_path, drawem9).problems if p.kind == "no-labels"]
        assert f"(label-WM_mask, label-cGM_mask show single structures; {advice}" in problem.found


def test_nothing_there(tmp_path: Path, drawem9: LabelSpace) -> None:
    with pytest.raises(CohortError, match="is not a folder"):
        read_bids(tmp_path / "absent", drawem9)
    make_bids(tmp_path)
    with pytest.raises(CohortError, match=r"holds no scans \(2 folders sub-\*\).*_FLAIR\.nii\.gz"):
        read_bids(tmp_path, drawem9, modalities=["FLAIR"])
    with pytest.raises(CohortError, match="filters leave none"):
        read_bids(tmp_path, drawem9, exclude=["01", "02"])
    with pytest.raises(CohortError, match="names 1, which the cohort does not have"):
        read_bids(tmp_path, drawem9, subjects=["1"])


def of_files(root: Path, space: LabelSpace, **choice: Any) -> list[Problem]:
    """Return the problems of a cohort, but for its ages."""
    problems = read_bids(root, space, convention="identity", **choice).problems
    return [problem for problem in problems if problem.kind != "missing-age"]


def derived(root: Path, kinds: dict[str, str], suffix: str = "dseg", beside: str = "T2w") -> Path:
    for subject, kind in kinds.items():
        add_scan(root, subject, None, [beside, f"{kind}{suffix}"])
    return root


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("desc-manual_", "desc-manual_"), ""),
        (("desc-manual_", "desc-ibeat_"), "desc-manual in 1 sessions, desc-ibeat in 1 sessions"),
        (("", "desc-ibeat_"), "no desc- in 1 sessions, desc-ibeat in 1 sessions"),
    ],
)
def test_label_files_of_several_kinds_are_told(tmp_path, drawem9, kinds, told) -> None:
    root = derived(tmp_path, dict(zip(("1", "2"), kinds, strict=True)))
    problems = of_files(root, drawem9)
    assert told in "".join(p.found for p in problems if p.kind == "mixed-derivatives")
    assert ("mixed-derivatives" in {p.kind for p in problems}) == bool(told)
    if told:
        chosen = of_files(root, drawem9, label_desc="ibeat")
        assert {p.kind for p in chosen} == {"no-labels"}


def test_images_of_several_spaces_are_told(tmp_path: Path, drawem9: LabelSpace) -> None:
    derived(tmp_path, {"1": "", "2": "space-T2w_"}, "T2w", "dseg")
    assert of_files(tmp_path, drawem9) == []
    derived(tmp_path, {"3": "space-MNI_desc-brain_"}, "T2w", "space-MNI_dseg")
    (told,) = of_files(tmp_path, drawem9)
    assert told.kind == "mixed-derivatives"
    assert "no desc- or space- in 2 sessions, desc-brain space-MNI in 1 sessions" in told.found


def test_label_files_beside_the_one_that_is_taken_are_told(tmp_path, drawem9) -> None:
    add_scan(tmp_path, "1", None, ["T2w", "dseg", "desc-aseg_dseg", "space-MNI_desc-aseg_dseg"])
    (told,) = of_files(tmp_path, drawem9)
    assert (told.kind, told.severity) == ("several-files", "warning")
    assert told.found.startswith("has desc-aseg_dseg beside the dseg without desc-, which is")
    for choice in ({"label_desc": "aseg"}, {"label_entities": {"desc": None}}):
        assert of_files(tmp_path, drawem9, **choice) == []


def test_two_modalities_of_one_suffix_are_two_kinds_of_image(tmp_path: Path, drawem9) -> None:
    for subject in ("1", "2"):
        add_scan(tmp_path, subject, None, ["T1w", "ce-gd_desc-preproc_T1w", "dseg"])
    assert of_files(tmp_path, drawem9, modalities=["T1w", "ce-gd_T1w"]) == []


def test_an_image_of_the_labels_own_kind_is_told(tmp_path: Path, drawem9) -> None:
    """As a reconstruction beside the stack that it was made of."""
    add_scan(tmp_path, "1", None, ["T2w", "desc-svr_T2w", "desc-svr_dseg"])
    (told,) = of_files(tmp_path, drawem9)
    assert told.found.startswith(
        "has desc-svr_T2w beside the T2w without desc-, which is taken, and"
    )
    assert "set cohort.image_desc=svr, or 'cohort.image_entities={desc: null}' if" in told.action
    for choice in ({"image_desc": "svr"}, {"image_entities": {"desc": None}}):
        assert of_files(tmp_path, drawem9, **choice) == []


def test_labels_of_another_reconstruction_are_not_those_of_the_image(tmp_path, drawem9) -> None:
    add_scan(tmp_path, "1", None, ["rec-mial_T2w", "rec-irtk_dseg"])
    (scan,) = read_bids(tmp_path, drawem9, convention="identity").scans
    assert scan.label is None
