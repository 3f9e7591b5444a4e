"""Every command of the pages, run from first to last as a reader would, on data of a few voxels."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from forked import run_command
from made_once import made_once
from pages import ELSEWHERE, PAGES, ROOT, STARTS, fenced, said
from tiny_run import TINY

ORGANS = ROOT / "experiments" / "organs"

SMALL = (
    *(word for word in TINY if not word.startswith("cohort.")),
    *("patches.steps_per_epoch=1", "trainer.max_epochs=1", "network=unet3d"),
    *("logger=csv", "trainer.devices=1", "trainer.precision=32-true", "pictures=0"),
)
PHANTOM = ("cohort.phantom.subjects=10", "cohort.phantom.spacing=5.0", "cohort.workers=1")
SWEEP = "python -m neoseg.train -m +experiment=supervised,partial_superclass annotation.draw=0,1,2"


def run(line: str, cwd: Path) -> str:
    """Run a command of a page and return what it said; trainings are made small."""
    found = STARTS.match(line)
    assert found is not None
    command, words = found[1], shlex.split(found[2], comments=True)
    if "…" in words:  # what a reader has anyhow
        place = words.index("…")
        words[place : place + 1] = own_words(words)
    if "hydra.run.dir=RUN_DIR" in words:  # a run that is yet to be
        shutil.rmtree(cwd / "run")
    if "labels=mine" in words:
        words = [word.replace("init_from=RUN_DIR", "init_from=whole") for word in words]
    words = [put(word) for word in words]
    for word in words if command in ("labels", "plan") else ():
        if word.startswith("output="):
            (cwd / word.removeprefix("output=")).unlink(missing_ok=True)
    if command in ("train", "plan", "sheet") and not words[0].startswith("resume="):
        if "init_from=run" in words:  # whose people are those of the phantom, split otherwise
            words.append("leaks=tell")
        own = any(w.startswith("cohort=") or w == "+experiment=organs" for w in words)
        words += SMALL if own else (*PHANTOM, *SMALL)
    if command == "phantom":
        words.append("spacing=5")
    if "pool=few" in words:  # other people than the run's, whatever the phantom calls them
        words[words.index("pool=few")] = "pool=data/unseen"
        words.append("leaks=namesakes")
    if command in ("predict", "evaluate", "calibrate", "plan_annotation", "audit"):
        words.append("device=cpu")
    status, told = run_command(command, *words, cwd=cwd, quick=True)
    assert status == 0, f"{line}\n{words}\n{told}"
    return told


def own_words(words: list[str]) -> list[str]:
    """Return what stands behind the dots of a line."""
    if "cluster=local" in words:
        return ["+experiment=supervised", "annotation.draw=0,1"]
    if "labels=mine" in words:
        return ["--config-dir", "my_conf", "cohort=nnunet", "cohort.root=Task04_Hippocampus"]
    return []


def put(word: str) -> str:
    """Return a word with the names of a reader's own files in place of those of the page."""
    for name, ours in NAMES.items():
        word = word.replace(name, ours)
    return word


NAMES = {
    "cohort.root=DIR": "cohort.root=fetal",
    "/data/dhcp": "data/dhcp",
    "/data/": "",
    "RUN_DIR": "run",
    "RUN_A": "run",
    "RUN_B": "second",
    "RUN_C": "third",
    "BIDS_OR_DHCP_TREE": "few",
    "COHORT_TREE": "data/many",
    "FILE_OR_FOLDER": "scan_T2w.nii.gz",
    "TREE": "few",
    "TABLE.yaml": "my_conf/labels/mine.yaml",
    "$SUBJECTS_DIR": "subjects",
}


def write_lab(folder: Path) -> None:
    """The same six scans in the layouts of nnU-Net, of a lab, of BIDS and of FreeSurfer."""
    rows = []
    for number in range(6):
        rng = np.random.default_rng(number)
        labels = np.zeros((16, 16, 16), np.uint8)
        labels[4:12, 4:8, 4:12], labels[4:12, 8:12, 4:12] = 1, 2
        image = (labels * 100 + rng.normal(200, 20, labels.shape)).astype(np.float32)
        coded = np.array([0, 2, 41], np.int32)[labels]
        for place, data in (
            (f"Task04_Hippocampus/imagesTr/case{number}_0000.nii.gz", image),
            (f"Task04_Hippocampus/labelsTr/case{number}.nii.gz", labels),
            (f"lab/images/s{number}_T2w.nii.gz", image),
            (f"lab/labels/s{number}.nii.gz", labels),
            (f"fetal/sub-{number}/anat/sub-{number}_T2w.nii.gz", image),
            (f"fetal/sub-{number}/anat/sub-{number}_dseg.nii.gz", labels * 3),
            (f"raw/sub-{number}/anat/sub-{number}_T2w.nii.gz", image),
            (f"raw/derivatives/manual/sub-{number}/anat/sub-{number}_dseg.nii.gz", labels * 3),
            (f"subjects/s{number}/mri/T1.mgz", image),
            (f"subjects/s{number}/mri/aseg.mgz", coded),
        ):
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
            nib.save(kind(data, np.eye(4)), path)
        rows.append(
            [f"s{number}", f"lab/images/s{number}_T2w.nii.gz", f"lab/labels/s{number}.nii.gz"]
        )
    about = {"channel_names": {"0": "MRI"}, "file_ending": ".nii.gz", "numTraining": 6}
    about["labels"] = {"background": 0, "Anterior": 1, "Posterior": 2}
    (folder / "Task04_Hippocampus/dataset.json").write_text(json.dumps(about))
    (folder / "Dataset101").symlink_to("Task04_Hippocampus")
    for place in ("fetal", "raw/derivatives/manual"):
        table = "index\tname\n0\tBackground\n3\tcGM\n6\tdGM\n"
        (folder / place / "dseg.tsv").write_text(table)
    with (folder / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "T2w", "label"], *rows])


def write_parts(folder: Path) -> None:
    """The reader's own folder of configurations: a table, and the loss of the page."""
    for name in ("labels", "loss"):
        (folder / name).mkdir(parents=True)
    table = (ROOT / "conf/labels/hippocampus.yaml").read_text(encoding="utf-8")
    (folder / "labels/mine.yaml").write_text(table.replace("name: hippocampus", "name: mine", 1))
    for place in ("labels/organs.yaml", "experiment/organs.yaml"):
        (folder / place).parent.mkdir(exist_ok=True)
        shutil.copy(ORGANS / "conf" / place, folder / place)
    (folder / "squared.py").write_text(fenced("tutorials/own-parts.md", "python")[0])
    (folder / "loss/squared.yaml").write_text(fenced("tutorials/own-parts.md", "yaml")[0])


def make_world(folder: Path) -> None:
    """What a reader has: scans, a folder of configurations, finished runs and a sweep."""
    write_lab(folder)
    write_parts(folder / "my_conf")
    sys.path.append(str(ORGANS))
    import make_data

    make_data.main(folder / "data/organs", scans=4)
    for name, number, seed in (("dhcp", 5, 0), ("many", 24, 0), ("unseen", 2, 7)):
        words = (f"output=data/{name}", f"subjects={number}", f"seed={seed}", "spacing=5")
        run_ok("phantom", *words, "workers=1", cwd=folder)
    usual = ("cohort=dhcp", "cohort.root=data/many", "split.fractions=[0.3,0.1,0.6]", *SMALL)
    for number, name in enumerate(("run", "second", "third")):
        words = ("+experiment=label_set", f"seed={number}", f"hydra.run.dir={name}", *usual)
        run_ok("train", *words, f"score={'false' if number else 'true'}", cwd=folder)
    lab = ("cohort=nnunet", "cohort.root=Task04_Hippocampus", "labels=hippocampus", *SMALL)
    words = ("+experiment=full_supervision", "annotation=full", "hydra.run.dir=whole", *lab)
    run_ok("train", *words, "score=false", cwd=folder)
    many = folder / "data/many"
    scans = sorted(many.rglob("*_desc-restore_T2w.nii.gz"))
    shutil.copy(scans[0], folder / "scan_T2w.nii.gz")
    for path in (*scans[:2], *many.rglob("participants.tsv"), *many.rglob("*_sessions.tsv")):
        place = folder / "few" / path.relative_to(many)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    run_ok("export", "run=run", "output=model.neoseg", cwd=folder)
    run(SWEEP, folder)
    more = SWEEP.replace("supervised,partial_superclass", "supervised").replace("0,1,2", "0")
    run(f"{more} annotation.full_fraction=0.5", folder)


def run_ok(command: str, *words: str, cwd: Path) -> None:
    status, told = run_command(command, *words, cwd=cwd, quick=True)
    assert status == 0, told


@pytest.fixture
def reader(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A reader's folder: copies of what commands change, links to the rest."""
    world = made_once(tmp_path_factory, "reader", make_world)
    changed = ("run", "runs", "my_conf")
    for path in world.iterdir():
        if path.name in changed:
            shutil.copytree(path, tmp_path / path.name, symlinks=True)
        elif path.name != "model.neoseg" or "warm_start" in request.node.name:
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if said(p)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, reader: Path) -> None:
    for line in dict.fromkeys(said(page)):
        done = line.partition("#")[0].strip() == SWEEP
        absent = "format=onnx" in line and find_spec("onnx") is None
        if not (done or absent or any(word in line for word in ELSEWHERE)):
            run(line, reader)
