"""What only looks or refuses does not wait for torch, MONAI or Lightning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "monai", "lightning", "torchio", "pandas", "matplotlib", "scipy", "wandb")

COMMANDS = """
import json, os, runpy, sys, traceback
import hydra  # which all of them need
folder, commands = sys.argv[1], json.loads(sys.argv[2])
for number, (module, *words) in enumerate(commands):
    if os.fork():
        os.wait()
        continue
    said = os.open(f"{folder}/{number}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1), os.dup2(said, 2)
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    with open(f"{folder}/{number}.json", "w") as file:
        json.dump(sorted(sys.modules), file)
    os._exit(0)
"""
SAYINGS = [
    (["neoseg"], "Train a segmentation network"),
    (["neoseg.explain", "patches.size"], "voxels along left-right"),
    (["neoseg.train", "--help"], "voxels along left-right"),
    (["neoseg.train", "--cfg", "job"], "batch_size"),
    (["neoseg.train", "patches.sise=3"], "did you mean 'patches.size'"),
    (["neoseg.train", "loss=[iuk]"], "did you mean 'iuc'"),
    (["neoseg.train", "cohort=dhcp"], "cohort.root is not set"),
    (["neoseg.predict", "--help"], "neoseg.predict run=RUN_DIR"),
    (["neoseg.predict"], "run is not set"),
    (["neoseg.export", "run=x"], "output is not set"),
    (["neoseg.phantom", "--cfg", "job", "output=x"], "preterm_share"),
    (["neoseg.labels"], "from is not set"),
    (["neoseg.report", "--help"], "neoseg.report runs="),
]


def loaded(script: str, *arguments: str) -> tuple[set[str], str]:
    """Return the top-level modules that a process had in the end, and what it wrote."""
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        timeout=120,
    )
    *said, modules = result.stderr.strip().splitlines()
    return {name.split(".")[0] for name in json.loads(modules)}, result.stdout + "\n".join(said)


IMPORTED = "import json, sys; {}; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"


def test_the_package_imports_nothing_heavy() -> None:
    found, _ = loaded(IMPORTED.format("import neoseg; dir(neoseg); neoseg.Targets"))
    assert not found & set(HEAVY)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_looking_and_refusing_import_nothing_heavy(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", COMMANDS, str(tmp_path), json.dumps([line for line, _ in SAYINGS])],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=300,
    )
    for number, (line, says) in enumerate(SAYINGS):
        told = (tmp_path / f"{number}.txt").read_text()
        assert says in told, (line, told)
        modules = json.loads((tmp_path / f"{number}.json").read_text())
        assert not {name.split(".")[0] for name in modules} & set(HEAVY), line


def test_inference_needs_torch_scipy_and_nibabel_alone() -> None:
    names = sorted(path.stem for path in (ROOT / "neoseg" / "inference").glob("[!_]*.py"))
    code = f"from neoseg.inference import {', '.join(names)}"
    found, _ = loaded(IMPORTED.format(code))
    assert not found & (set(HEAVY) - {"torch", "scipy"} | {"PIL", "transformers"})


def test_prediction_needs_no_lightning() -> None:
    found, _ = loaded(IMPORTED.format("import neoseg.commands.predict"))
    assert not found & {"lightning", "pytorch_lightning", "torchmetrics", "wandb", "torchio"}


def test_reports_need_no_torch() -> None:
    found, _ = loaded(IMPORTED.format("import neoseg.commands.report"))
    assert not found & {"torch", "lightning", "monai"}
