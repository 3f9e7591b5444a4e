"""Label files made of masks of one structure each."""

from __future__ import annotations

import copy
import json
import logging
import shlex
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from forked import run_command

from neoseg.cohort import CohortError, read_table
from neoseg.commands.combine_masks import main
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelSpace, LabelTable

TABLE: dict[str, Any] = {
    "name": "organs",
    "background": 0,
    "leaves": [
        {"index": 0, "name": "Background", "abbreviation": "BG"},
        {"index": 1, "name": "Spleen", "abbreviation": "spleen"},
        {"index": 2, "name": "Left kidney", "abbreviation": "lk"},
        {"index": 3, "name": "Right kidney", "abbreviation": "rk"},
    ],
    "classes": [{"abbreviation": "kidneys", "name": "Kidneys", "leaves": ["lk", "rk"]}],
    "mirror": [[2, 3]],
}
AFFINE = np.diag([-2.0, 2, 2, 1])


def volume(path: Path, *inside: int, value: int = 1, shape: tuple[int, ...] = (4, 3, 2)) -> None:
    data = np.zeros(shape, np.uint8)
    data.flat[list(inside)] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three scans: everything drawn, the kidneys together and no spleen, and nothing."""
    for name in ("s1", "s2", "s3"):
        volume(tmp_path / "data" / name / "ct.nii.gz", *range(10), value=7)
    masks = tmp_path / "data" / "s1" / "masks"
    volume(masks / "spleen.nii.gz", 0, 1, value=255)
    volume(masks / "left_kidney.nii.gz", 4)
    volume(masks / "Right kidney.nii.gz", 5, 6)
    volume(tmp_path / "data" / "s2" / "masks" / "kidneys.nii.gz", 8, 9)
    volume(tmp_path / "data" / "s2" / "masks" / "heart.nii.gz", 3)
    return tmp_path / "data"


def combine(root: Path, **more: Any) -> Path:
    cohort = {
        "_target_": "neoseg.cohort.read_folder",
        "root": str(root),
        "images": "{subject}/ct",
        "labels": None,
        "modalities": ["CT"],
    }
    output = root.parent / "combined"
    keys = {"labels": TABLE, "cohort": cohort, "masks": "{subject}/masks/{structure}"}
    main({**keys, "output": str(output), "processes": 1, **more})  # type: ignore[arg-type]
    return output


def test_scans_are_read_from_the_table_with_what_was_not_drawn(root: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    output = combine(root)
    assert "1 structures are not in label table 'organs': heart" in caplog.text
    assert "no label file" not in caplog.text
    space = LabelSpace.from_table(LabelTable.model_validate(TABLE))
    cohort = read_table(output / "scans.csv", space, modalities=["CT"])
    labels = [nib.load(scan.label) for scan in cohort.scans if scan.label]
    assert [scan.label is None for scan in cohort.scans] == [False, False, True]
    native = nib.as_closest_canonical(nib.load(root / "s1" / "masks" / "spleen.nii.gz"))
    assert np.allclose(labels[0].affine, native.affine)
    expected = np.where(np.asarray(native.dataobj) > 0, 1, 0)
    assert np.array_equal(np.asarray(labels[0].dataobj) == 1, expected == 1)
    assert sorted(np.asarray(labels[0].dataobj).ravel().tolist())[-5:] == [1, 1, 2, 3, 3]
    assert sorted(np.asarray(labels[1].dataobj).ravel().tolist())[-3:] == [0, 4, 4]
    assert cohort.convention.written() == "{0: BG, 1: spleen, 2: lk, 3: rk, 4: kidneys}"
    assert [scan.not_drawn for scan in cohort.scans] == [set(), space.label_set("spleen"), set()]


def test_only_what_changed_is_made_again(root: Path, caplog) -> None:
    output = combine(root)
    files = sorted((output / "labels").glob("*.nii.gz"))
    before = [path.stat().st_mtime_ns for path in files]
    volume(root / "s2" / "masks" / "kidneys.nii.gz", 8)
    caplog.set_level(logging.INFO)
    combine(root)
    after = [path.stat().st_mtime_ns for path in files]
    assert (before[0], before[1] < after[1]) == (after[0], True)
    assert "1 of 2 label files are there already" in caplog.text
    files[0].write_bytes(b"something else")
    combine(root, structures={"heart": "spleen"})
    assert nib.load(files[0]).shape == (4, 3, 2)
    assert np.unique(np.asarray(nib.load(files[1]).dataobj)).tolist() == [0, 1, 4]
    table = copy.deepcopy(TABLE)
    table["leaves"][1] |= {"index": 7}
    combine(root, structures={"heart": "spleen"}, labels=table)
    assert np.unique(np.asarray(nib.load(files[1]).dataobj)).tolist() == [0, 7, 8]
    combine(root)
    damaged = output / "made" / "sub-s2.json"
    damaged.write_text(json.dumps(json.loads(damaged.read_text()) | {"holds": {"integers": 3}}))
    (output / "made" / "sub-s1.json").write_text("[")
    caplog.clear()
    combine(root)
    assert "are there already" not in caplog.text
    assert np.unique(np.asarray(nib.load(files[1]).dataobj)).tolist() == [0, 4]


def test_all_masks_that_cannot_be_used_are_told_together(root: Path, caplog) -> None:
    volume(root / "s1" / "masks" / "spleen.nii.gz", 0, 1, shape=(4, 3, 3))
    data = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    nib.save(nib.Nifti1Image(data, AFFINE), root / "s1" / "masks" / "left_kidney.nii.gz")
    (root / "s2" / "masks" / "kidneys.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(CohortError) as caught:
        combine(root)
    for text in ("has shape", "holds values from 1 to 23; expected 0 and one other", "kidneys.nii"):
        assert text in str(caught.value)
    volume(root / "s2" / "masks" / "kidneys.nii.gz", 8, 9)
    output = combine(root, on_error="skip")
    assert "sub-s1 left out: " in caplog.text
    rows = (output / "scans.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == ["labels/sub-s2_dseg.nii.gz", ""]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"masks": "{subject}/seg/{structure}"}, r"no masks of sub-s1.*{subject}/seg/{structure}"),
        ({"masks": "{subject}/masks"}, "below cohort.root with {subject}, {structure}"),
        ({"masks": "{subject}/{modality}/{structure}"}, "masks is .*expected a path"),
        ({"masks": "/data/{subject}/{structure}"}, "expected a path below cohort.root"),
        ({"structures": {"hart": "spleen"}}, "no mask is called so; did you mean 'heart'"),
        ({"structures": {"heart": "splen"}}, "did you mean 'spleen'"),
        ({"structures": dict.fromkeys(["heart", "kidneys", "spleen"]) | {
            "left_kidney": None, "Right kidney": None}}, "no mask shows a structure"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error(root: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises((CohortError, ConfigError), match=message):
        combine(root, **keys)


def test_sessions_have_masks_of_their_own_or_share_them(root: Path) -> None:
    data = root.parent / "visits"
    for visit in ("a", "b"):
        volume(data / "images" / f"sub-01_ses-{visit}.nii.gz", *range(9))
        volume(data / "own" / f"sub-01_ses-{visit}_spleen.nii.gz", 0)
    volume(data / "shared" / "sub-01_spleen.nii.gz", 0, 1)
    for masks, number in (
        ("own/sub-{subject}_ses-{session}_{structure}", 1),
        ("own/{subject}_{structure}", 1),
        ("shared/{subject}_{structure}", 2),
    ):
        cohort = {"_target_": "neoseg.cohort.read_folder", "root": str(data), "labels": None}
        cohort |= {"images": "images/{subject}", "modalities": ["T1w"]}
        output = combine(root, cohort=cohort, masks=masks)
        files = [output / "labels" / f"sub-01_ses-{visit}_dseg.nii.gz" for visit in ("a", "b")]
        assert [np.asarray(nib.load(path).dataobj).sum() for path in files] == [number, number]


def test_the_command_and_the_advice_for_a_pattern_with_structures(root: Path) -> None:
    folder = root.parent / "my conf" / "labels"
    folder.mkdir(parents=True)
    (folder / "organs.yaml").write_text(yaml.safe_dump(TABLE))
    keys = ["--config-dir", str(folder.parent), "labels=organs", "cohort.modalities=[CT]"]
    images = [f"cohort.root={root}", "cohort.images={subject}/ct"]
    labels = "cohort.labels={subject}/masks/{structure}"
    status, said = run_command("prepare", *keys, "cohort=folder", *images, labels, cwd=root)
    assert status == 2
    assert "python -m neoseg.combine_masks makes one label file of masks" in said
    masks = "masks={subject}/masks/{structure}"
    status, said = run_command("combine_masks", *keys, *images, masks, "output=out", cwd=root)
    assert (status, "not drawn in 1 of them" in said) == (0, True), said
    line = shlex.split(said.rpartition("next: python -m neoseg.prepare ")[2])
    assert line[:3] == [f"--config-dir={folder.parent}", "labels=organs", "cohort=table"]
