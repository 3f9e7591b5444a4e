"""A loss, a reader and a network of another package train, sweep, resume, predict, are reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forked import run_command
from small_cohort import head, save

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip installs it, in a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target)]
    subprocess.run([*pip, str(HERE / "package")], check=True, timeout=300)
    return target


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    for number in range(6):
        image, labels = head(np.random.default_rng(number))
        save(folder / f"{number:02}_image.nii.gz", image)
        save(folder / f"{number:02}_labels.nii.gz", labels)
    return folder


def neoseg(
    command: str, *arguments: object, at: Path, paths: tuple[Path, ...] = (), status: int = 0
) -> str:
    """Run a command as a user does, with packages on the path; return what it says."""
    code, told = run_command(command, *arguments, cwd=at, paths=paths)
    assert code == status, told
    return told


def small_run(heads: Path) -> list[str]:
    """Two epochs of two steps on the small heads."""
    return [
        *("--config-dir", str(HERE / "conf"), "labels=heads", "annotation=coarse"),
        f"cohort.root={heads}",
        *("split.fractions=[0.67,0.17,0.16]", "patches.size=[16,16,16]", "patches.workers=0"),
        *("patches.steps_per_epoch=2", "trainer.max_epochs=2", "trainer.accelerator=cpu"),
        *("logger=csv", "pictures=0", "trainer.enable_progress_bar=false"),
    ]


def test_a_package_from_outside_is_as_good_as_one_from_inside(
    installed: Path, heads: Path, tmp_path: Path
) -> None:
    arguments = [*small_run(heads), "cohort=flat", "network=pocket", "network.net.width=4"]
    loss = ["loss=[iuc,brier]", "loss.brier.power=1.5"]
    note = f"{{_target_: mylab.callbacks.Note, path: {tmp_path / 'epochs'}}}"
    arguments.append(f"trainer.callbacks=[{note}]")
    sweep = ["cluster=local", "cluster.jobs=2", "seed=1", "sweep=outside"]
    paths = (installed,)
    neoseg("train", "-m", *arguments, *loss, *sweep, at=tmp_path, paths=paths)
    (record,) = (tmp_path / "runs").rglob("run.json")
    trained = record.parent
    config = (trained / "config.yaml").read_text()
    assert "mylab.networks.PocketNet" in config
    assert "power: 1.5" in config

    # An interrupted run goes on by its own configuration.
    steps = json.loads(record.read_text())["steps"]
    record.unlink()
    neoseg("train", f'resume="{trained}"', "trainer.max_epochs=3", at=tmp_path, paths=paths)
    assert json.loads(record.read_text())["steps"] == steps + 2
    assert (tmp_path / "epochs").read_text().split() == ["0", "1", "2"]

    scans = tmp_path / "scans"
    scans.mkdir()
    image = heads / "00_image.nii.gz"
    (scans / "new_T2w.nii.gz").write_bytes(image.read_bytes())
    output = f"output={tmp_path / 'a'}"
    neoseg("predict", f'run="{trained}"', f"input={scans}", output, at=tmp_path, paths=paths)
    assert list((tmp_path / "a").rglob("*_dseg.nii.gz"))
    neoseg("evaluate", f'run="{trained}"', "part=val", "pictures=0", at=tmp_path, paths=paths)
    neoseg("report", f"runs={tmp_path / 'runs'}", f"output={tmp_path / 'report'}", at=tmp_path)
    table = pd.read_csv(tmp_path / "report" / "runs.csv")
    assert len(table) == 1

    # Without the package its network is not there to predict with, and the message says so.
    told = neoseg(
        *("predict", f'run="{trained}"', f"input={scans}", f"output={tmp_path / 'c'}"),
        at=tmp_path,
        status=2,
    )
    assert "mylab.networks.PocketNet" in told


def test_prediction_and_evaluation_need_no_loss(
    installed: Path, heads: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tiny = ["network.divisor=2", "network.net.channels=[4,8]", "network.net.strides=[2]"]
    arguments = [*small_run(heads), "cohort=flat", "loss=[iuc,brier]", *tiny]
    neoseg("train", *arguments, f"hydra.run.dir={run}", at=tmp_path, paths=(installed,))
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "new_T2w.nii.gz").write_bytes((heads / "00_image.nii.gz").read_bytes())
    neoseg("predict", f"run={run}", f"input={scans}", f"output={tmp_path / 'a'}", at=tmp_path)
    assert list((tmp_path / "a").rglob("*_dseg.nii.gz"))
    told = neoseg("train", f"resume={run}", at=tmp_path, status=2)
    assert "brier" in told
    # The reader is missing as well, for the run's own cohort; its loss is not asked for.
    told = neoseg("evaluate", f"run={run}", at=tmp_path, status=2)
    assert "mylab.readers.read_flat" in told
    assert "brier" not in told


def test_a_file_beside_the_configs_is_used_where_the_command_allows_it(
    installed: Path, heads: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [*small_run(heads), "cohort=flat", "network=pocket", f"hydra.run.dir={run}"]
    note = f"{{_target_: margin.Note, path: {tmp_path / 'epochs'}}}"
    look = "{_target_: lightning.pytorch.callbacks.LearningRateMonitor}"
    arguments += ["score=false", f"trainer.callbacks=[{note}, {look}]"]
    told = neoseg("train", *arguments, at=tmp_path, paths=(installed,), status=2)
    assert "trainer.callbacks[0]: _target_ 'margin.Note'" in told
    arguments += ["loss=[margin]"]
    paths = (installed,)
    told = neoseg("train", *arguments, at=tmp_path, paths=paths, status=2)
    assert "allow=[margin]" in told
    told = neoseg("train", *arguments, "allow=[margin]", at=tmp_path, paths=paths)
    assert (run / "run.json").is_file()
    assert f"output=segmentations --config-dir={HERE / 'conf'} 'allow=[margin]'" in told
    # What the run's own file allows does not count.
    assert "allow:\n- margin" in (run / "config.yaml").read_text()
    (run / "run.json").unlink()
    told = neoseg("train", f"resume={run}", at=tmp_path, paths=(*paths, HERE / "conf"), status=2)
    assert "allow=[margin]" in told
    neoseg(
        *("train", f"resume={run}", "allow=[margin]", "trainer.max_epochs=3"),
        at=tmp_path,
        paths=(*paths, HERE / "conf"),
    )
    assert (run / "run.json").is_file()
    assert (tmp_path / "epochs").read_text().split() == ["0", "1", "2"]


def test_changed_code_is_told(installed: Path, heads: Path, tmp_path: Path) -> None:
    """The weights fit the changed network, which predicts something else."""
    code, run = tmp_path / "code", tmp_path / "run"
    code.mkdir()
    source = "from mylab.networks import PocketNet\n\n\nclass Mine(PocketNet):\n    pass\n"
    (code / "nets.py").write_text(source)
    paths = (installed, code)
    arguments = [*small_run(heads), "cohort=flat", "network=pocket", f"hydra.run.dir={run}"]
    arguments += ["network.net._target_=nets.Mine", "allow=[nets]"]
    neoseg("train", *arguments, "score=false", at=tmp_path, paths=paths)
    recorded = json.loads((run / "code.json").read_text())
    assert "nets" in recorded
    assert any(name.startswith("mylab.") for name in recorded)
    predict = (f"run={run}", f"input={heads / '00_image.nii.gz'}", f"output={tmp_path / 'out'}")
    predict = (*predict, "allow=[nets]", "picture=false")
    told = neoseg("predict", *predict, at=tmp_path, paths=paths)
    assert "has changed since" not in told
    negative = "\n    def forward(self, image):\n        return -super().forward(image)\n"
    (code / "nets.py").write_text(source.replace("    pass\n", negative[1:]))
    told = neoseg("predict", *predict, at=tmp_path, paths=paths)
    assert f"the code of nets has changed since {run} was trained" in " ".join(told.split())
    assert "1 scans are segmented again" in told
    told = neoseg("train", *arguments, "score=false", at=tmp_path, paths=paths, status=2)
    assert "the code of nets has changed since" in told
