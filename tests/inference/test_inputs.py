"""Which files of which folders are scans, and which files belong together."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from neoseg.findings.problems import CohortError
from neoseg.inference.image_names import Naming
from neoseg.inference.inputs import find_scans
from neoseg.store import DataError

BOTH = ["T2w", "T1w"]


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / (name if name.endswith((".nii", ".gz", ".json")) else f"{name}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(root: Path, path: Path | None = None, modalities=BOTH, **options) -> list[tuple]:
    """What is found, as names below `root`."""
    return [
        tuple(None if image is None else image.relative_to(root).as_posix() for image in s.images)
        for s in find_scans(path or root, modalities, **options)
    ]


P = "sub-CC1_ses-7"
A = "sub-CC1/ses-7/anat"
RELEASES = {
    "1": (
        [
            *(f"{P}_T2w", f"{P}_T2w_restore", f"{P}_T1w", f"{P}_T1w_restore"),
            *(f"{P}_drawem_all_labels", f"{P}_brainmask_bet"),
        ],
        (f"{P}_T2w_restore.nii.gz", f"{P}_T1w_restore.nii.gz"),
    ),
    "2": (
        [
            *(f"{P}_desc-restore_T2w", f"{P}_space-T2w_T1w", f"{P}_desc-restore_space-T2w_T1w"),
            *(f"{P}_desc-drawem9_space-T2w_dseg", f"{P}_desc-bet_space-T2w_brainmask"),
        ],
        (f"{P}_desc-restore_T2w.nii.gz", f"{P}_desc-restore_space-T2w_T1w.nii.gz"),
    ),
    "3": (
        [
            *(f"{P}_T2w", f"{P}_desc-restore_T2w", f"{P}_T1w", f"{P}_desc-restore_T1w"),
            *(f"{P}_desc-drawem87_dseg", f"{P}_desc-brain_mask"),
        ],
        (f"{P}_desc-restore_T2w.nii.gz", f"{P}_desc-restore_T1w.nii.gz"),
    ),
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("base", ["derivatives/dhcp_anat_pipeline", "derivatives", "."])
def test_dhcp_trees(tmp_path, release, base) -> None:
    names, expected = RELEASES[release]
    root = make(tmp_path, *(f"{base}/{A}/{name}" for name in names))
    folder = f"{A}" if base == "." else f"{base}/{A}"
    assert found(root) == [tuple(f"{folder}/{name}" for name in expected)]


def test_copies_in_other_spaces_are_no_scans_of_their_own(tmp_path) -> None:
    folder = "sub-1/anat/sub-1"
    names = [f"{folder}{space}_run-{run}_T2w" for space in ("", "_space-MNI") for run in (1, 2)]
    root = make(tmp_path, *names, "sub-2/anat/sub-2_space-MNI_T2w")
    other = ("sub-2/anat/sub-2_space-MNI_T2w.nii.gz",)
    native, moved = ([(f"{name}.nii.gz",) for name in part] for part in (names[:2], names[2:]))
    assert found(root, modalities=["T2w"]) == [*native, other]
    assert found(root, modalities=["T2w"], naming=Naming(space="MNI")) == [*moved, other]
    # A folder that is no tree of sessions holds what somebody put there.
    assert len(found(root / "sub-1", modalities=["T2w"], path=root / "sub-1")) == 4


@pytest.mark.parametrize("release", RELEASES)
def test_sessions_without_t1w(tmp_path, release) -> None:
    names, expected = RELEASES[release]
    make(tmp_path, *(f"{A}/{name}" for name in names if "T1w" not in name))
    assert found(tmp_path) == [(f"{A}/{expected[0]}", None)]


def test_raw_images_beside_the_pipeline_are_left_out(tmp_path) -> None:
    make(tmp_path, f"{A}/{P}_run-1_T2w", f"derivatives/{A}/{P}_desc-restore_T2w")
    make(tmp_path, f"derivatives/fmri/{A}/{P}_T2w")
    assert found(tmp_path) == [(f"derivatives/{A}/{P}_desc-restore_T2w.nii.gz", None)]


def test_segmentations_in_a_bids_folder_are_no_scans(tmp_path) -> None:
    make(
        tmp_path,
        "sub-1/anat/sub-1_T2w",
        "sub-1/anat/sub-1_dseg",
        "sub-1/func/sub-1_T2w",
        "derivatives/neoseg/sub-1/anat/sub-1_desc-neoseg_dseg",
        "derivatives/other/sub-1/anat/sub-1_T2w",
    )
    assert found(tmp_path, modalities=["T2w"]) == [("sub-1/anat/sub-1_T2w.nii.gz",)]


def test_runs_and_acquisitions_are_scans_of_their_own(tmp_path) -> None:
    make(
        tmp_path,
        *(f"sub-1/anat/sub-1_run-{n}_{m}" for n in (1, 2) for m in BOTH),
        "sub-1/anat/sub-1_acq-hi_T2w",
        "sub-1/anat/sub-1_acq-lo_T1w",
    )
    assert found(tmp_path) == [
        ("sub-1/anat/sub-1_acq-hi_T2w.nii.gz", None),
        *[tuple(f"sub-1/anat/sub-1_run-{n}_{m}.nii.gz" for m in BOTH) for n in (1, 2)],
    ]


@pytest.mark.parametrize(
    ("desc", "expected"),
    [
        (None, ("sub-1_desc-restore_T2w", "sub-1_desc-restore_T1w")),
        ("none", ("sub-1_T2w", "sub-1_T1w")),
        ("denoised", ("sub-1_desc-denoised_T2w", "sub-1_T1w")),
    ],
)
def test_desc_chooses(tmp_path, desc, expected) -> None:
    names = ("_T2w", "_desc-restore_T2w", "_desc-denoised_T2w", "_T1w", "_desc-restore_T1w")
    make(tmp_path, *(f"sub-1/anat/sub-1{name}" for name in names))
    wanted = tuple(f"sub-1/anat/{name}.nii.gz" for name in expected)
    if desc == "denoised":  # no T1w was processed like that: any will do
        assert found(tmp_path, desc=desc)[0][0] == wanted[0]
        assert found(tmp_path, desc=desc)[0][1] is not None
    else:
        assert found(tmp_path, desc=desc) == [wanted]


@pytest.mark.parametrize(
    ("usual", "expected", "told"),
    [
        ("none", "T2w", ""),
        ("denoised", "desc-denoised_T2w", ""),
        ("restore", "desc-restore_T2w", ""),
        ("absent", "desc-restore_T2w", "trained on images with desc-absent, and these scans have"),
    ],
)
def test_what_the_run_was_trained_on_goes_first(tmp_path, usual, expected, told, caplog) -> None:
    names = ("T2w", "desc-restore_T2w", "desc-denoised_T2w")
    make(tmp_path, *(f"sub-1/anat/sub-1_{name}" for name in names))
    one = [(f"sub-1/anat/sub-1_{expected}.nii.gz",)]
    assert found(tmp_path, modalities=["T2w"], naming=Naming(desc=usual)) == one
    assert told in caplog.text
    assert bool(told) == ("all the same" in caplog.text)
    other = [("sub-1/anat/sub-1_T2w.nii.gz",)]
    assert found(tmp_path, modalities=["T2w"], naming=Naming(desc=usual), desc="none") == other


def test_images_that_are_not_corrected_are_told(tmp_path: Path, caplog) -> None:
    make(tmp_path, "sub-1/anat/sub-1_T2w", "sub-2/anat/sub-2_T2w")
    assert len(found(tmp_path, modalities=["T2w"], naming=Naming(desc="restore"))) == 2
    assert "the run was trained on images with desc-restore (bias-" in caplog.text
    assert "corrected), and these scans have none: sub-1_T2w.nii.gz, sub-2_T2w" in caplog.text
    assert caplog.text.count("2 images are taken all the same") == 1
    caplog.clear()
    found(tmp_path, modalities=["T2w"], naming=Naming(desc="restore"), desc="none")
    assert not caplog.text


def test_several_that_would_do_are_named(tmp_path) -> None:
    make(tmp_path, *(f"sub-1/anat/sub-1_desc-{d}_T2w" for d in ("a", "b")))
    with pytest.raises(DataError, match=r"1 scans have several.*desc=NAME") as error:
        found(tmp_path)
    assert "desc-a_T2w" in str(error.value)
    assert found(tmp_path, desc="b") == [("sub-1/anat/sub-1_desc-b_T2w.nii.gz", None)]
    with pytest.raises(DataError, match=r"none is \*_T2w.nii.gz with desc c"):
        found(tmp_path, desc="c")


def test_images_in_other_spaces_are_no_partners(tmp_path) -> None:
    make(tmp_path, "sub-1/anat/sub-1_T2w", "sub-1/anat/sub-1_space-MNI_T1w")
    assert found(tmp_path) == [("sub-1/anat/sub-1_T2w.nii.gz", None)]


def test_a_partner_in_the_space_of_the_first_goes_first(tmp_path) -> None:
    make(tmp_path, *(f"sub-1/anat/sub-1_{n}" for n in ("T2w", "T1w", "space-T2w_T1w")))
    assert found(tmp_path)[0][1] == "sub-1/anat/sub-1_space-T2w_T1w.nii.gz"


def test_a_folder_of_named_files(tmp_path) -> None:
    make(tmp_path, "x/a_T2w", "x/a_T1w", "x/y/b_T2w.nii", "c_T1w", "x/a_mask", "x/.d_T2w")
    assert found(tmp_path) == [("x/a_T2w.nii.gz", "x/a_T1w.nii.gz"), ("x/y/b_T2w.nii", None)]


def test_a_plain_folder(tmp_path) -> None:
    make(tmp_path, "one", "deep/two.nii", "three_mask", "four_dseg", "five_T1w", "six.json")
    assert found(tmp_path) == [("deep/two.nii", None), ("one.nii.gz", None)]


@pytest.mark.parametrize("name", [f"{P}_desc-restore_T2w", "scan_T2w", "T2w"])
def test_a_file_and_its_partner(tmp_path, name) -> None:
    make(tmp_path, name, name.replace("T2w", "T1w"), "other_T2w")
    one = tmp_path / f"{name}.nii.gz"
    assert found(tmp_path, one) == [(one.name, one.name.replace("T2w", "T1w"))]
    assert found(tmp_path, one, modalities=["T2w"]) == [(one.name,)]


def test_a_file_is_taken_as_it_is(tmp_path, caplog) -> None:
    make(tmp_path, "scan_T1w", "plain")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, tmp_path / "plain.nii.gz") == [("plain.nii.gz", None)]
        assert not caplog.messages
        assert found(tmp_path, tmp_path / "scan_T1w.nii.gz") == [("scan_T1w.nii.gz", None)]
    assert "is taken as T2w" in caplog.messages[0]


def test_nothing_there(tmp_path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        found(tmp_path, tmp_path / "nowhere")
    with pytest.raises(DataError, match="no file that ends in"):
        found(tmp_path)
    make(tmp_path, f"{A}/{P}_T1w", f"{A}/{P}_FLAIR")
    with pytest.raises(DataError, match=r"2 volumes, and none is \*_T2w"):
        found(tmp_path)


@pytest.mark.parametrize(
    "name", ["desc-brain_mask", "desc-bet_space-T2w_brainmask", "brainmask_drawem"]
)
def test_the_brain_mask_of_the_same_session_comes_along(tmp_path, name) -> None:
    folder = tmp_path / "sub-A" / "ses-1" / "anat"
    make(folder, "sub-A_ses-1_desc-restore_T2w.nii.gz", f"sub-A_ses-1_{name}.nii.gz")
    make(folder, "sub-A_ses-2_desc-brain_mask.nii.gz")
    (scan,) = find_scans(tmp_path, ["T2w"])
    assert scan.mask == folder / f"sub-A_ses-1_{name}.nii.gz"
    (alone,) = find_scans(folder / "sub-A_ses-1_desc-restore_T2w.nii.gz", ["T2w"])
    assert alone.mask == scan.mask
    (folder / f"sub-A_ses-1_{name}.nii.gz").unlink()
    assert find_scans(tmp_path, ["T2w"])[0].mask is None


CASES = [f"c{case}_000{channel}" for case in (1, 2) for channel in (0, 1)]


@pytest.mark.parametrize(
    ("described", "modalities", "expected"),
    [
        ({"0": "T1w", "1": "T2w"}, ["T2w", "T1w"], [("1", "0"), ("1", "0")]),  # by name
        ({"0": "a", "1": "b"}, ["1"], [("1",), ("1",)]),  # by number: one channel of two
        ({"0": "0", "1": "1"}, ["T2w", "T1w"], [("0", "1"), ("0", "1")]),  # in order, and said
        (None, ["T2w", "T1w"], [("0", "1"), ("0", "1")]),
        ({"x": "a", "0": "T2w", "1": "T1w"}, ["T2w"], [("0",), ("0",)]),  # what is no number
        ({"0": "T2w"}, ["T2w"], [("0",), ("1",), ("0",), ("1",)]),  # more than it describes
        (None, ["T2w"], [("0",), ("1",), ("0",), ("1",)]),  # scans that are numbered so
    ],
)
def test_channels_as_nnunet_names_them(
    tmp_path: Path,
    described: dict[str, str] | None,
    modalities: list[str],
    expected: list[tuple[str, ...]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    make(tmp_path / "imagesTs", *CASES)
    if described is not None:
        (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": described}))
    folder = tmp_path / "imagesTs"
    scans = found(folder, modalities=modalities)
    assert [tuple(name.split("_")[1][3] for name in scan) for scan in scans] == expected
    in_order = modalities == ["T2w", "T1w"] and described != {"0": "T1w", "1": "T2w"}
    assert ("in order: _0000 is T2w, _0001 is T1w" in caplog.text) == in_order
    if len(modalities) > 1:
        (alone,) = found(folder, folder / (scans[1][0]), modalities)
        assert alone == scans[1]


def test_other_channels_than_those_of_the_network_are_an_error(tmp_path: Path) -> None:
    folder = make(tmp_path, *CASES)
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "t1", "1": "T2"}}))
    with pytest.raises(CohortError, match=r"channels t1, T2; expected those .* T2w, T1w") as error:
        found(folder)
    assert "names={T2w: NAME, T1w: NAME}" in str(error.value)
    scans = found(folder, naming=Naming(names={"T2w": "T2", "T1w": "T1"}))
    assert scans == [(f"c{case}_0001.nii.gz", f"c{case}_0000.nii.gz") for case in (1, 2)]
    with pytest.raises(CohortError, match="channels t1, T2"):
        found(folder, folder / "c1_0000.nii.gz")


@pytest.mark.parametrize(
    ("described", "called", "files", "told"),
    [
        (["T2w"], {}, CASES[::2], False),
        (["MRI"], {"T2w": "MRI"}, CASES[::2], False),
        (["T2w", "PD"], {}, CASES, True),
    ],
)
def test_channels_may_lack_a_modality_but_the_first(
    tmp_path: Path,
    described: list[str],
    called: dict[str, str],
    files: list[str],
    told: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = make(tmp_path, *files)
    channels = {str(number): name for number, name in enumerate(described)}
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": channels}))
    scans = [(f"c{case}_0000.nii.gz", None) for case in (1, 2)]
    assert found(folder, naming=Naming(names=called)) == scans
    assert ("has the channels T2w, PD; " in caplog.text) == told
    assert ("scans count as without T1w" in caplog.text) == told


@pytest.mark.parametrize("sign", ["_", "-", "."])
def test_names_as_of_brats(tmp_path: Path, sign: str) -> None:
    """`BraTS-GLI-00003-000-t1n`, of a folder for each patient or of all together."""
    modalities = ["t1n", "t1c", "t2f"]
    for case in ("B-1-000", "B-1-001"):
        make(tmp_path / case, *(f"{case}{sign}{name}" for name in (*modalities, "seg")))
    make(tmp_path / "B-2-000", *(f"B-2-000{sign}{name}" for name in ("t1c", "t2f")))
    scans = [
        tuple(f"{case}/{case}{sign}{name}.nii.gz" for name in modalities)
        for case in ("B-1-000", "B-1-001")
    ]
    assert found(tmp_path, modalities=modalities) == scans
    assert found(tmp_path, tmp_path / scans[1][0], modalities) == scans[1:]
    with pytest.raises(DataError, match="all are label maps, masks or images of other modalities"):
        found(tmp_path / "B-2-000", modalities=modalities)


def test_modalities_in_other_words_are_asked_for(tmp_path: Path) -> None:
    """Each would count as a scan of its own, of the first modality alone."""
    words = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair"}
    make(tmp_path, *(f"BraTS20_{case}_{word}" for case in (1, 2) for word in words.values()))
    with pytest.raises(DataError, match="do not say which is T1w") as error:
        found(tmp_path, modalities=[*words])
    assert "names={T1w: WORD, T2w: WORD, FLAIR: WORD}" in str(error.value)
    scans = found(tmp_path, modalities=[*words], naming=Naming(names=words))
    assert scans == [tuple(f"BraTS20_{n}_{w}.nii.gz" for w in words.values()) for n in (1, 2)]


@pytest.mark.parametrize("word", ["b", "flair"])
def test_images_of_one_scan_have_words_of_modalities_or_the_same_as_others(
    tmp_path: Path, word: str
) -> None:
    make(tmp_path, "1_a", f"1_{word}", *(["2_a", "2_b"] if word == "b" else []))
    with pytest.raises(DataError, match=f"1_a.nii.gz, 1_{word}.nii.gz in .* of one scan"):
        found(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        *(("p1_001", "p1_002"), ("P001", "P002", "P003"), ("miller", "smith"), ("sub_a", "sub_b")),
        ("1_a", "1_b", "2_a", "2_c"),
    ],
)
def test_names_that_differ_in_one_word_may_be_those_of_scans(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert found(make(tmp_path, *names)) == [(f"{name}.nii.gz", None) for name in names]


@pytest.mark.parametrize(
    ("wanted", "kept", "told"),
    [
        (None, ["1_T1w", "2_T1w", "3_ce-fe_T1w"], "1 images are .* T1w with no ce-; "),
        ("gd", ["1_ce-gd_T1w", "2_T1w", "3_ce-fe_T1w"], "2 images are .* T1w with ce-gd; "),
        (9, ["1_T1w", "2_T1w", "3_ce-fe_T1w"], "3 images are .* T1w with ce-9; "),
    ],
)
def test_entities_of_the_training_choose_among_the_images_of_a_scan(
    tmp_path: Path,
    wanted: str | int | None,
    kept: list[str],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A T1w before contrast agent, one after it, or both; and one with another agent alone."""
    names = {"1": ["T1w", "ce-gd_T1w", "FLAIR"], "2": ["T1w"], "3": ["ce-fe_T1w", "FLAIR"]}
    for subject, ends in names.items():
        make(tmp_path / f"sub-{subject}" / "anat", *(f"sub-{subject}_{end}" for end in ends))
    scans = found(
        tmp_path, modalities=["T1w", "FLAIR"], naming=Naming(entities={"ce": wanted, "run": 1})
    )
    assert [Path(name).name for name, _ in scans] == [f"sub-{name}.nii.gz" for name in kept]
    assert scans[0][1] == "sub-1/anat/sub-1_FLAIR.nii.gz"
    assert re.search(told, caplog.text)


def test_in_sessions_modalities_stand_after_an_underscore(tmp_path: Path) -> None:
    session = tmp_path / "sub-1" / "anat"
    make(session, "sub-1_T2w", "sub-1_acq-a_T1w", "sub-1_from-T1w_to-T2w", "sub-1_from-T2w.T2w")
    scan = ("sub-1/anat/sub-1_T2w.nii.gz", "sub-1/anat/sub-1_acq-a_T1w.nii.gz")
    for path in (tmp_path, session / "sub-1_T2w.nii.gz"):
        assert found(tmp_path, path) == [scan]


def test_a_modality_may_have_entities(tmp_path: Path) -> None:
    make(tmp_path, *(f"sub-1/anat/sub-1_{n}" for n in ("T1w", "ce-gd_acq-x_T1w")))
    (scan,) = found(tmp_path, modalities=["T1w", "ce-gd_T1w"])
    assert scan == ("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_ce-gd_acq-x_T1w.nii.gz")


def test_what_is_drawn_beside_images_is_no_scan(tmp_path: Path) -> None:
    names = ("a", "a_seg", "b_label", "b", "c_labels", "d_mask")
    assert found(make(tmp_path, *names), modalities=["T2w"]) == [("a.nii.gz",), ("b.nii.gz",)]


def test_headers_without_voxels_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "a")
    for name in ("b.mhd", "b.raw", "c.NHDR"):
        (tmp_path / name).touch()
    assert found(tmp_path, modalities=["T2w"]) == [("a.nii.gz",)]
    assert "2 files such as " in caplog.text
    assert "b.mhd are left out" in caplog.text


def test_what_is_left_out_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "a_T2w", "b", "c_t2", "c_mask", "d_FLAIR", "d-1", "d-T1W")
    (tmp_path / "e_T2w.nii.gz").symlink_to(tmp_path / ".git" / "annex" / "gone.nii.gz")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, modalities=["T2w"]) == [("a_T2w.nii.gz",)]
    assert re.search(r"1 files such as \S+e_T2w.nii.gz are broken links", caplog.text)
    assert re.search(r"3 files such as \S+b.nii.gz are left out", caplog.text)


def test_the_case_of_a_modality_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, "a_T2w", "b_t2w", "b_t1W")
    assert found(tmp_path) == [("a_T2w.nii.gz", None), ("b_t2w.nii.gz", "b_t1W.nii.gz")]


def test_links_to_folders_are_followed_and_hidden_folders_are_not(tmp_path: Path) -> None:
    root = make(tmp_path / "in", "a", ".git/annex/objects/MD5E-s1--b", ".hidden/c")
    make(tmp_path / "elsewhere", "d")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "round").symlink_to(root)
    assert found(root, modalities=["T2w"]) == [("a.nii.gz",), ("more/d.nii.gz",)]


def test_modalities_of_a_session_are_paired_as_in_training(tmp_path: Path) -> None:
    make(
        tmp_path,
        *("sub-1/anat/sub-1_acq-tse_T2w", "sub-1/anat/sub-1_acq-mprage_T1w"),
        *("sub-2/anat/sub-2_run-1_T2w", "sub-2/anat/sub-2_run-2_acq-mprage_T1w"),
    )
    assert found(tmp_path) == [
        ("sub-1/anat/sub-1_acq-tse_T2w.nii.gz", "sub-1/anat/sub-1_acq-mprage_T1w.nii.gz"),
        ("sub-2/anat/sub-2_run-1_T2w.nii.gz", None),
    ]


@pytest.mark.parametrize(("name", "told"), [("a_T1w", True), ("a_FLAIR", True), ("a_T2w", False)])
def test_another_modality_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, told: bool
) -> None:
    path = make(tmp_path, name) / f"{name}.nii.gz"
    with caplog.at_level(logging.WARNING):
        find_scans(path, ["T2w"])
    assert ("is taken as T2w, whatever its name says" in caplog.text) == told


@pytest.mark.parametrize("modality", ["0", "MRI"])
def test_a_network_whose_modality_is_no_kind_of_image_takes_the_only_kind_of_a_tree(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, modality: str
) -> None:
    """Networks trained on nnU-Net's folders call their images so."""
    make(tmp_path, *(f"sub-{n}/anat/sub-{n}_{end}" for n in (1, 2) for end in ("T1w", "dseg")))
    paths = [(f"sub-{n}/anat/sub-{n}_T1w.nii.gz",) for n in (1, 2)]
    assert found(tmp_path, modalities=[modality]) == paths
    assert f"images called T1w are taken as {modality}" in caplog.text
    make(tmp_path, "sub-1/anat/sub-1_T2w")
    with pytest.raises(DataError, match="none is"):
        found(tmp_path, modalities=[modality])


@pytest.mark.parametrize("modalities", [["T2w"], ["T2w", "T1w"]])
def test_sessions_without_the_first_image_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, modalities: list[str]
) -> None:
    """Whether the network reads what they have instead, or not."""
    make(tmp_path, *(f"sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w" for n in (1, 2)))
    make(tmp_path, "sub-1/ses-1/anat/sub-1_ses-1_T2w")
    (tmp_path / "sub-3" / "anat").mkdir(parents=True)
    (tmp_path / "sub-1" / "ses-1" / "func").mkdir()
    with caplog.at_level(logging.WARNING):
        assert len(found(tmp_path, modalities=modalities)) == 1
    left_out = "sub-2/ses-1 (T1w), sub-3 (no volume)"
    assert f"2 of 3 sessions have no T2w and are left out: {left_out}" in caplog.text


def test_scans_without_the_first_image_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = "flat/p1", "flat/p2"
    make(tmp_path, f"{one}_T2w", f"{one}_T1w", f"{two}_T1w")
    with caplog.at_level(logging.WARNING):
        assert [scan[0] for scan in found(tmp_path)] == [f"{one}_T2w.nii.gz"]
    assert "1 images have no T2w beside them and are left out: p2_T1w.nii.gz" in caplog.text
    caplog.clear()
    make(tmp_path, f"{two}_T2w")
    with caplog.at_level(logging.WARNING):
        assert len(found(tmp_path)) == 2
    assert "left out" not in caplog.text


def test_the_second_image_of_a_scan_is_not_taken_for_the_first(tmp_path: Path) -> None:
    make(tmp_path, "a_T2w", "a_T1w", "b_T1w")
    with pytest.raises(DataError, match=r"a_T1w\.nii\.gz goes with a_T2w\.nii\.gz"):
        found(tmp_path, tmp_path / "a_T1w.nii.gz")
    assert found(tmp_path, tmp_path / "a_T2w.nii.gz") == [("a_T2w.nii.gz", "a_T1w.nii.gz")]
    assert found(tmp_path, tmp_path / "b_T1w.nii.gz") == [("b_T1w.nii.gz", None)]


def test_of_a_subjects_directory_names_say_which_image_is_meant(tmp_path: Path, caplog) -> None:
    files = ("T1", "norm", "aseg", "aseg.presurf", "ctrl_pts", "orig/001", "../surf/lh.w-g.pct")
    for subject in ("a", "fsaverage"):
        for file in files:
            path = (tmp_path / subject / "mri").joinpath(f"{file}.mgz").resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert found(tmp_path, modalities=["T1"]) == [("a/mri/T1.mgz",)]
    called = Naming(names={"T1w": "norm"})
    assert found(tmp_path, modalities=["T1w"], naming=called) == [("a/mri/norm.mgz",)]
    assert "left out" not in caplog.text
    with pytest.raises(DataError, match=r"no file is called T1w; .* by 'names=\{T1w: T1\}'"):
        found(tmp_path, modalities=["T1w"])
    with pytest.raises(DataError, match=r"'names=\{T2w: T2\}'"):
        found(tmp_path, modalities=["T2w"])
    with pytest.raises(DataError, match="has no subject but fsaverage"):
        find_scans(tmp_path / "fsaverage", ["T1"])
    make(tmp_path, "c_T1w")
    assert found(tmp_path, modalities=["T1w"]) == [("c_T1w.nii.gz",)]
