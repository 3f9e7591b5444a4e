"""The commands as a user runs them: each in a process of its own, from another folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from forked import run_command
from made_once import made_once

from neoseg.evaluation.table import read_scores

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "+debug=fast",
    "cohort.workers=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "logger.wandb.mode=disabled",
    "window.overlap=0.0",
    "pictures=1",
]

pytestmark = pytest.mark.slow


def run(command: str, *arguments: object, cwd: Path, status: int = 0) -> str:
    """Run `python -m neoseg.<command>` and check how it ends; return what it said."""
    code, said = run_command(command, *arguments, cwd=cwd)
    assert code == status, said[-5000:]
    return said


@pytest.fixture(scope="module")
def sweep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of its own in which a sweep of four jobs has run."""
    made = made_once(tmp_path_factory, "sweep", lambda at: run("train", "-m", *SWEEP, cwd=at))
    return shutil.copytree(made, tmp_path_factory.mktemp("own") / "sweep_folder")


SWEEP = ["+experiment=supervised,partial_iuc", "annotation.draw=0,1", *TINY]


def jobs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("runs/sweeps/default/*/run.json"))


def test_a_sweep_gives_a_folder_for_each_job(sweep_folder: Path) -> None:
    found = jobs(sweep_folder)
    assert len(found) == 4
    for job in found:
        assert len(read_scores(job / "scores.csv")) > 0
        assert list((job / "segmentations").rglob("*_dseg.nii.gz"))
        assert list((job / "pictures").glob("*.png"))
        assert list((job / "views").glob("*.npz"))
        card = json.loads((job / "card.json").read_text())
        record = json.loads((job / "run.json").read_text())
        assert card["data"]["fingerprint"] == record["data"]
        assert set(record["energy_joules"]) == {"processors", "gpus"}
        # That of the job, not of the sweep.
        assert "-m neoseg.train +experiment=" in record["command"]
        assert "annotation.draw=0,1" not in record["command"]
        assert {row["scans"] for row in card["scores"]} >= {"all"}
        assert (job / "card.md").read_text().startswith("# Run ")
    plans = {(job / "annotation.csv").read_text() for job in found}
    assert len(plans) == 4


def test_a_sweep_started_again_repeats_nothing(sweep_folder: Path) -> None:
    before = {job: (job / "run.json").stat().st_mtime_ns for job in jobs(sweep_folder)}
    run("train", "-m", *SWEEP, cwd=sweep_folder)
    assert {job: (job / "run.json").stat().st_mtime_ns for job in jobs(sweep_folder)} == before


def test_report_compares_the_arms(sweep_folder: Path) -> None:
    run("report", "runs=runs/sweeps/default", "output=report", cwd=sweep_folder)
    text = (sweep_folder / "report" / "report.md").read_text()
    assert "supervised" in text
    assert "partial_iuc" in text
    assert (sweep_folder / "report" / "dice.png").stat().st_size > 1000
    page = (sweep_folder / "report" / "report.html").read_text()
    assert page.count('"planes":[{') == len({*re.findall(r'"scan":(\d+)', page)}) > 0
    assert len(list((sweep_folder / "report" / "cards").glob("*/card.md"))) == 4


def test_report_names_a_wrong_setting(sweep_folder: Path) -> None:
    arguments = ["runs=runs/sweeps/default", "output=other", "compare.level=2"]
    said = run("report", *arguments, cwd=sweep_folder, status=2)
    assert "compare.level = 2" in said
    assert not list((sweep_folder / "other").glob("*.md"))


def test_predict_skips_what_is_done_and_lists_failures(sweep_folder: Path) -> None:
    job = jobs(sweep_folder)[0]
    source = next((sweep_folder / "data" / "phantom").rglob("*_desc-restore_T2w.nii.gz"))
    inputs = sweep_folder / "inputs"
    inputs.mkdir()
    (inputs / "a_T2w.nii.gz").write_bytes(source.read_bytes())
    (inputs / "b_T2w.nii.gz").write_bytes(source.read_bytes()[:2000])
    arguments = [f"run='{job}'", f"input={inputs}", "output=out", "device=cpu"]
    said = run("predict", *arguments, cwd=sweep_folder, status=1)
    assert "b_T2w.nii.gz" in said
    (target,) = (sweep_folder / "out").rglob("*_dseg.nii.gz")
    labels, image = nib.load(target), nib.load(source)
    assert labels.shape == image.shape
    np.testing.assert_array_equal(labels.affine, image.affine)
    written = target.stat().st_mtime_ns
    (inputs / "b_T2w.nii.gz").unlink()
    run("predict", *arguments, cwd=sweep_folder)
    assert target.stat().st_mtime_ns == written


def test_evaluate_scores_the_run_again(sweep_folder: Path) -> None:
    job = jobs(sweep_folder)[0]
    options = ["output=again", "device=cpu", "scoring.calibration=true"]
    run("evaluate", f"run='{job}'", *options, cwd=sweep_folder)
    first, again = (
        read_scores(job / "scores.csv"),
        read_scores(sweep_folder / "again" / "scores.csv"),
    )
    for name in ("dice", "hd95", "nsd", "violation", "hidden"):
        np.testing.assert_array_equal(first[name], again[name])
    assert first["hidden"].any()
    assert first["ece"].isna().all()
    assert again["ece"].between(0, 1).all()
    assert first["violation"].notna().any()
    wrong = run(
        "evaluate", f"run='{job}'", "output=again", "device=cpu", cwd=sweep_folder, status=2
    )
    assert ", with other settings, which would be lost" in wrong
    assert read_scores(sweep_folder / "again" / "scores.csv")["ece"].notna().all()
    # Another part has a folder of its own, so that nobody takes its scores for those of the test.
    run("evaluate", f"run='{job}'", "part=val", "device=cpu", "pictures=0", cwd=sweep_folder)
    assert [path.name for path in (job / "evaluation").iterdir()] == ["phantom_val"]
    into = (f"run='{job}'", f"output='{job}'", "device=cpu", "pictures=0")
    wrong = run("evaluate", *into, "part=val", cwd=sweep_folder, status=2)
    assert "is the folder of a run, whose files would be written over" in wrong
    run("evaluate", *into, cwd=sweep_folder)
    assert read_scores(job / "scores.csv")["dice"].equals(first["dice"])
    wrong = run("evaluate", f"run='{job}'", "part=testt", cwd=sweep_folder, status=2)
    assert "part = 'testt': Input should be 'train', 'val', 'test' or 'all'" in wrong


def test_evaluate_lists_all_that_cannot_be_read_before_any_work(sweep_folder: Path) -> None:
    job = jobs(sweep_folder)[0]
    run("phantom", "output=other", "subjects=3", "spacing=5", "workers=1", cwd=sweep_folder)
    labels = sorted((sweep_folder / "other").rglob("*desc-drawem9_dseg.nii.gz"))
    for label in labels[:2]:
        label.write_bytes(label.read_bytes()[:500])
    asked = (f"run='{job}'", "cohort=dhcp", "cohort.root=other", "seen=score", "output=scored")
    asked += ("device=cpu", "pictures=0")
    said = run("evaluate", *asked, cwd=sweep_folder, status=2)
    assert all(label.name in said for label in labels[:2])
    assert "cannot be scored" in said
    assert not (sweep_folder / "scored").exists()
    said = run("evaluate", *asked, "on_error=skip", cwd=sweep_folder)
    assert f"2 of {len(labels)} scans of cohort 'dhcp' are left out" in said
    assert (sweep_folder / "scored" / "scores.csv").is_file()


def test_a_plan_that_somebody_has_edited_is_kept(sweep_folder: Path) -> None:
    asked = ("+experiment=supervised", "cohort=dhcp", "cohort.root=planned", "output=plan.yaml")
    run("phantom", "output=planned", "subjects=6", "spacing=5", "workers=1", cwd=sweep_folder)
    path = sweep_folder / "plan.yaml"
    for _ in range(2):
        run("plan", *asked, cwd=sweep_folder)
    first = path.read_text()
    path.write_text(first + "# mine\n")
    said = run("plan", *asked, cwd=sweep_folder, status=2)
    assert "plan.yaml is there already and somebody has edited it" in said
    run("plan", *asked, "overwrite=true", cwd=sweep_folder)
    assert path.read_text() == first


def test_prepare_and_phantom(sweep_folder: Path) -> None:
    run("phantom", "output=ph", "subjects=2", "spacing=5", "workers=1", cwd=sweep_folder)
    said = run("prepare", "cohort=dhcp", "cohort.root=ph", cwd=sweep_folder)
    assert "2 subjects" in said
    label = next((sweep_folder / "ph").rglob("*desc-drawem9_dseg.nii.gz"))
    label.write_bytes(label.read_bytes()[:500])
    said = run("prepare", "cohort=dhcp", "cohort.root=ph", cwd=sweep_folder, status=2)
    assert label.name in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("patches.size=[32,32,40]", "32 or 48"),
        ("head=softmax", "softmax"),
    ],
)
def test_a_config_that_cannot_work_ends_with_one_message(
    override: str, hint: str, sweep_folder: Path
) -> None:
    override = f"+{override}" if "gama" in override else override
    said = run("train", *TINY, override, cwd=sweep_folder, status=2)
    assert hint in said
    assert "Traceback" not in said


def test_a_wheel_works_from_another_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run([*map(str, build)], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    kept = [path for path in (ROOT / "neoseg").rglob("*") if path.suffix in {".py", ".c", ".html"}]
    assert len({path.suffix for path in kept}) == 3
    missing = [path for path in kept if not (tmp_path / "site" / path.relative_to(ROOT)).is_file()]
    assert not missing  # the C code is compiled where it is used

    def from_wheel(command: str, *words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", f"neoseg.{command}", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout

    assert "leaf_dice" in from_wheel("train", "+experiment=label_set", "--cfg", "job")
    from_wheel("phantom", "output=ph", "subjects=1", "spacing=5")
    record = json.loads((tmp_path / "ph" / "phantom.json").read_text())
    assert record["settings"]["subjects"] == 1
