"""Check phantom cohorts on disk: layout, restart, refusal of mixed settings, equal bytes."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from neoseg.cohort.phantom.generation import generate_cohort
from neoseg.cohort.phantom.parcels import tissue_lookup
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.subject import draw_subject

PIPELINE = Path("derivatives/dhcp_anat_pipeline")
SETTINGS = PhantomSettings(subjects=3, spacing=5.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_cohort(tmp_path_factory.mktemp("phantom") / "cohort", SETTINGS)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_layout_is_that_of_release_3(cohort: Path) -> None:
    pipeline = cohort / PIPELINE
    participants = rows(pipeline / "participants.tsv")
    assert len(participants) == 3
    expected = ["participant_id", "sex", "birth_age", "birth_weight", "singleton"]
    assert list(participants[0]) == expected
    for participant in participants:
        name = f"sub-{participant['participant_id']}"
        for session in rows(pipeline / name / f"{name}_sessions.tsv"):
            prefix = f"{name}_ses-{session['session_id']}"
            anat = pipeline / name / f"ses-{session['session_id']}" / "anat"
            for ending in (
                "T2w",
                "desc-restore_T2w",
                "desc-brain_mask",
                "desc-drawem9_dseg",
                "desc-drawem87_dseg",
            ):
                image = nib.load(anat / f"{prefix}_{ending}.nii.gz")
                assert image.header.get_zooms() == pytest.approx([5.0] * 3)
            fine = np.asarray(nib.load(anat / f"{prefix}_desc-drawem87_dseg.nii.gz").dataobj)
            coarse = np.asarray(nib.load(anat / f"{prefix}_desc-drawem9_dseg.nii.gz").dataobj)
            np.testing.assert_array_equal(tissue_lookup()[fine.astype(int)], coarse)
    assert [row["index"] for row in rows(pipeline / "desc-drawem9_dseg.tsv")] == list("123456789")
    assert len(rows(pipeline / "desc-drawem87_dseg.tsv")) == 87
    description = json.loads((pipeline / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "neoseg phantom"
    assert description["GeneratedBy"][0]["Parameters"]["spacing"] == 5.0


def test_interrupted_generation_gives_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    class InterruptedByTestError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise InterruptedByTestError

    output = tmp_path / "again"
    with pytest.raises(InterruptedByTestError):
        generate_cohort(output, SETTINGS, progress=stop)
    assert not (output / PIPELINE / "participants.tsv").exists()
    finished = {path: path.stat().st_mtime_ns for path in output.rglob("*.nii.gz")}
    assert finished
    seen: list[tuple[int, int]] = []
    generate_cohort(output, SETTINGS, progress=lambda done, total: seen.append((done, total)))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert seen[-1][0] == seen[-1][1]
    assert digests(output) == digests(cohort)


def test_a_missing_file_is_made_again(tmp_path: Path) -> None:
    settings = PhantomSettings(subjects=1, spacing=5.0)
    generate_cohort(tmp_path, settings)
    before = digests(tmp_path)
    next(tmp_path.rglob("*drawem9_dseg.nii.gz")).unlink()
    generate_cohort(tmp_path, settings)
    assert digests(tmp_path) == before


def test_worker_count_does_not_change_bytes(cohort: Path, tmp_path: Path) -> None:
    generate_cohort(tmp_path / "two", SETTINGS, workers=2)
    assert digests(tmp_path / "two") == digests(cohort)


def test_other_settings_are_refused_and_named(cohort: Path) -> None:
    with pytest.raises(FileExistsError, match="seed is 0 there and 7 here"):
        generate_cohort(cohort, PhantomSettings(subjects=3, spacing=5.0, seed=7))


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / PIPELINE).mkdir(parents=True)
    with pytest.raises(FileExistsError, match="empty output folder"):
        generate_cohort(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"subjects": "three"}, "subjects is 'three'; expected a whole number"),
        ({"subjects": 2.5}, "subjects is 2.5; expected a whole number"),
        ({"noise": True}, "noise is True; expected a number"),
        ({"spacing": 9}, "spacing is 9; expected 0.4 to 5.0"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomSettings(**values)


def test_workers_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers"):
        generate_cohort(tmp_path, SETTINGS, workers=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cohort_has_the_wanted_mixture(seed: int) -> None:
    subjects = [draw_subject(PhantomSettings(seed=seed), number) for number in range(24)]
    sessions = [session for subject in subjects for session in subject.sessions]
    preterm = [subject for subject in subjects if subject.birth_age <= 32]
    assert 16 <= len(preterm) <= 20
    assert all(subject.birth_age >= 37 for subject in subjects if subject not in preterm)
    assert 28 <= len(sessions) <= 34
    early = sum(session.scan_age < 37 for session in sessions)
    assert early >= 8
    assert len(sessions) - early >= 8
    assert all(28 <= session.scan_age <= 44.5 for session in sessions)
    assert all(s.scan_age >= subject.birth_age for subject in subjects for s in subject.sessions)
    assert len({session.session_id for session in sessions}) == len(sessions)
    assert len({subject.participant_id for subject in subjects}) == len(subjects)
    missing = sum(not session.has_t1w for session in sessions) / len(sessions)
    assert 0.05 <= missing <= 0.35
    assert len(Counter(session.orientation for session in sessions)) >= 2
