"""Commands that are ended at random moments and started again, against an undisturbed one."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("+experiment=partial_superclass", "cohort.phantom.subjects=6", "cohort.phantom.spacing=5.0"),
    *("cohort.workers=1", "patches.size=[16,16,16]", "patches.batch_size=2", "patches.workers=0"),
    *("patches.steps_per_epoch=20", "network.divisor=2", "network.net.channels=[4,8]"),
    *("network.net.strides=[2]", "optimizer.warmup_steps=2", "window.overlap=0.0"),
    *("trainer.accelerator=cpu", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"),
    *("trainer.enable_progress_bar=false", "logger.wandb.mode=disabled", "pictures=1"),
    "checkpoint.every_steps=5",
)
PHANTOM = [item for item in TINY if item.startswith("cohort.")]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE = 90.0
"""Seconds in which a command has to save and end, and its processes with it."""

OLD = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Command:
    """A command, where it writes, and what must be there in the end."""

    name: str
    arguments: tuple[str, ...]
    output: str
    content: Callable[[Path], object]


@dataclass(frozen=True)
class Kill:
    """One command that was killed and started again."""

    command: str
    signal: str
    seconds: float
    survived: bool
    detail: str = ""


def commands(run: Path) -> tuple[Command, ...]:
    """Return every command that writes, on the tiny phantom; `run` is a finished one."""
    sweep = ("annotation.draw=0,1", "sweep=s", "score=false")
    return (
        Command("prepare", (*PHANTOM, "store.processes=2"), "data/store", store_content),
        Command("train", (*TINY, "patches.workers=1", "hydra.run.dir=out"), "out", run_content),
        Command(
            "predict",
            (f"run={run}", f"input={images_of(run)}", "output=out", "device=cpu", "probseg=[WM]"),
            "out",
            image_content,
        ),
        Command("evaluate", (f"run={run}", "output=out", "device=cpu"), "out", score_content),
        Command("report", (f"runs={run.parent}", "output=out"), "out", report_content),
        Command("train", ("-m", *TINY, *sweep), "runs/sweeps/s", sweep_content),
    )


def start(command: Command, folder: Path) -> subprocess.Popen[bytes]:
    """Start a command in a folder, in a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"neoseg.{command.name}", *command.arguments],
            cwd=folder,
            env={**os.environ, **OLD},
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_hear_all,
        )


def _hear_all() -> None:
    """Undo what a shell does to a command in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def undisturbed(command: Command, folder: Path) -> float:
    """Run a command to its end; return the seconds that it took."""
    began = time.monotonic()
    process = start(command, folder)
    if process.wait(timeout=900):
        raise RuntimeError(f"{command.name} failed: {(folder / 'output.txt').read_text()[-2000:]}")
    return time.monotonic() - began


def killed_once(
    command: Command, folder: Path, whole: Path, moment: float, number: signal.Signals, group: bool
) -> Kill | None:
    """Send a command a signal after so many seconds, start it again, and compare what it made.

    None where it has ended before. `group` is all of its processes, else the first alone.
    """
    process = start(command, folder)
    try:
        process.wait(timeout=moment)
        return None
    except subprocess.TimeoutExpired:
        (os.killpg if group else os.kill)(process.pid, number)
    try:
        _wait_for_all(process)
        undisturbed(command, folder)
        expected = command.content(whole / command.output)
        found = command.content(folder / command.output)
        detail = "" if found == expected else f"differs: {_difference(expected, found)}"
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    title = f"{number.name} to {'all' if group else 'one'}"
    return Kill(_title(command), title, round(moment, 2), not detail, detail)


def _wait_for_all(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a command and of what it has started; raise TimeoutError."""
    end = time.monotonic() + GRACE
    try:
        process.wait(GRACE)
        while time.monotonic() < end:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        return
    except subprocess.TimeoutExpired:
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    raise TimeoutError(f"processes were there {GRACE:.0f} s after the signal")


def kill_all(work: Path, number: int, seed: int, only: str | None = None) -> list[Kill]:
    """Kill every command so often at random moments between its start and its end."""
    rng = random.Random(seed)
    first = Command("train", (*TINY, "hydra.run.dir=runs/a"), "runs/a", run_content)
    undisturbed(first, work / "finished")
    kills = []
    for command in commands(work / "finished" / "runs" / "a"):
        if only is not None and _title(command) != only:
            continue
        whole = work / f"{_title(command)}-whole"
        seconds = undisturbed(command, whole)
        for attempt in range(number):
            folder, kill = work / f"{_title(command)}-{attempt}", None
            while kill is None:
                moment = rng.uniform(0.02, 0.95) * seconds
                ways = [(number, group) for number in SIGNALS for group in (True, False)]
                way = ways[attempt % len(ways)]
                shutil.rmtree(folder, ignore_errors=True)
                kill = killed_once(command, folder, whole, moment, *way)
                if kill is None:  # the machine is faster now than it was
                    seconds = moment
            print(kill, flush=True)
            kills.append(kill)
            if kill.survived:
                shutil.rmtree(folder)
    return kills


def _title(command: Command) -> str:
    return "sweep" if "-m" in command.arguments else command.name


def _difference(expected: object, found: object) -> str:
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = sorted(set(expected) | set(found))
        return ", ".join(k for k in keys if expected.get(k) != found.get(k))[:500]
    return f"{expected!r:.200} and {found!r:.200}"


# What a command has made, without what clocks say.


def images_of(run: Path) -> Path:
    """Return the phantom's folder of a finished run."""
    (folder,) = (run.parents[1] / "data" / "phantom").glob("*/derivatives/dhcp_anat_pipeline")
    return folder


def store_content(folder: Path) -> object:
    """Every array of the store, by the id of its scan."""
    from neoseg.store.arrays import open_array

    entries = sorted(path.parent for path in folder.rglob("entry.json") if _shown(path, folder))
    return {
        f"{entry.name[:-17]}/{path.name}": np.asarray(open_array(path)[:]).tobytes()
        for entry in entries
        for path in sorted(entry.glob("*.b2nd"))
    }


def run_content(folder: Path) -> object:
    """Weights, optimizer and scores of a run, its plan, and the number of its steps."""
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    found: dict[str, object] = {
        name: value.numpy().tobytes() for name, value in state["state_dict"].items()
    }
    for number, moments in state["optimizer_states"][0]["state"].items():
        found |= {f"{number}.{key}": value.numpy().tobytes() for key, value in moments.items()}
    with (folder / "metrics.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    found["curves"] = [{k: v for k, v in r.items() if not k.startswith("time/")} for r in rows]
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    found |= {name: record[name] for name in ("test_dice", "steps")}
    found["card"] = (folder / "card.md").is_file()
    for name in ("annotation.csv", "split.csv", "scores.csv"):
        path = folder / name
        found[name] = path.read_text(encoding="utf-8") if path.is_file() else None
    return found | _images(folder / "segmentations")


def sweep_content(folder: Path) -> object:
    """The content of every job."""
    jobs = sorted(path.parent for path in folder.glob("*/run.json"))
    return {f"{job.name} {k}": v for job in jobs for k, v in run_content(job).items()}  # type: ignore[attr-defined]


def image_content(folder: Path) -> object:
    """Voxels of every image, the tables, and which pictures there are."""
    tables = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*"))
        if path.suffix in (".tsv", ".json") and _shown(path, folder)
    }
    pictures = sorted(path.name for path in folder.rglob("*.png") if _shown(path, folder))
    return _images(folder) | tables | {"pictures": pictures}


def score_content(folder: Path) -> object:
    """Scores and segmentations."""
    return {"scores": (folder / "scores.csv").read_text(encoding="utf-8")} | _images(folder)


def report_content(folder: Path) -> object:
    """Tables and texts, the names of the figures, and whether the page is whole."""
    found: dict[str, object] = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".csv", ".md", ".tex") and _shown(path, folder)
    }
    found["figures"] = sorted(p.name for p in folder.rglob("*.png") if _shown(p, folder))
    found["page"] = (folder / "report.html").read_text(encoding="utf-8").rstrip()[-7:]
    return found


def _images(folder: Path) -> dict[str, object]:
    return {
        path.relative_to(folder).as_posix(): np.asarray(nib.load(path).dataobj).tobytes()
        for path in sorted(folder.rglob("*.nii.gz"))
        if _shown(path, folder)
    }


def _shown(path: Path, folder: Path) -> bool:
    """Tell a file from a draft that a killed process left."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)
