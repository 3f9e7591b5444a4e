"""Settings of a run that goes on: its own, those on top, and those that are refused."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interruption import Killed, assert_same_runs, die_at
from omegaconf import DictConfig, OmegaConf
from tiny_run import train

from neoseg.cohort import Scan
from neoseg.configuration.resume import resumed
from neoseg.configuration.run import RunConfig
from neoseg.errors import NeosegError
from neoseg.findings.settings import ConfigError
from neoseg.runs.replanned import Replanned
from neoseg.runs.run import train as train_run
from neoseg.store import DataError
from neoseg.training.module import SegmentationModule


def test_other_annotation_is_refused(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_at("training_step", 1, SegmentationModule, monkeypatch)
    with pytest.raises(Killed):
        train(configured("partial_superclass"), tmp_path)
    with pytest.raises(ConfigError, match="another plan now"):
        train(configured("partial_superclass", "annotation.full_fraction=0.5"), tmp_path)


def test_a_run_whose_cohort_has_grown_goes_on_without_the_new(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "a run"
    config = configured("supervised", "checkpoint.every_steps=1", "trainer.max_epochs=1")
    people = RunConfig.parse(config).read_cohort().subjects
    with monkeypatch.context() as context:
        die_at("training_step", 2, SegmentationModule, context)
        with pytest.raises(Killed):
            train(OmegaConf.merge(config, {"cohort": {"exclude": people[:2]}}), run)
    grown = resumed(run, [f"resume={run}", f"cohort.exclude=[{people[0]}]"])
    with pytest.raises(ConfigError) as caught:
        train_run(grown, run, resuming=True)
    message = str(caught.value)
    print(message)
    assert f"scans are new (phantom/sub-{people[1]}_ses-" in message
    line = shlex.split(message.rpartition("To go on with that run: ")[2])
    assert line[:3] == ["python", "-m", "neoseg.train"]
    train_run(resumed(run, line[3:]), run, resuming=True)
    assert json.loads((run / "run.json").read_text())["steps"] == 4


def test_new_scans_of_another_cohort_are_left_out_of_that() -> None:
    def source(name: str, *ids: tuple[str, str]) -> SimpleNamespace:
        scans = [Scan(*key, (None,), None, None, None, None, name) for key in ids]
        return SimpleNamespace(cohort=SimpleNamespace(name=name, scans=scans))

    plan: Any = SimpleNamespace(
        sources=[source("a", ("1", "x")), source("b", ("1", "x"), ("1", "y"))]
    )
    found = Replanned(new=(("b", "sub-1_ses-y"),))
    content = {"extra_cohorts": {"b": {"cohort": {"exclude": ["7 a"]}}}}
    (line,) = found.without_new(plan, content)
    assert shlex.split(line) == ['++extra_cohorts.b.cohort.exclude=["7 a","1_ses-y"]']
    assert Replanned(new=found.new, gone=(("a", "sub-2"),)).without_new(plan, content) == []
    everybody = Replanned(new=(*found.new, ("b", "sub-1_ses-x"))).without_new(plan, {})
    assert shlex.split(everybody[0]) == ['++extra_cohorts.b.cohort.exclude=["1"]']


@pytest.mark.parametrize(
    "key",
    [
        "trainer.val_check_interval=0.5",
        "trainer.check_val_every_n_epoch=2",
        "trainer.limit_train_batches=1",
        "trainer.overfit_batches=2",
        "trainer.logger=false",
    ],
)
def test_keys_that_would_break_it(
    key: str, configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=key.split("=")[0]):
        train(configured("supervised", f"+{key}"), tmp_path)


def test_values_that_change_nothing_are_fine(configured: Callable[..., DictConfig]) -> None:
    usual = ("val_check_interval=1.0", "check_val_every_n_epoch=1", "logger=true")
    config = configured("supervised", *(f"+trainer.{item}" for item in usual))
    assert not {"logger", "val_check_interval"} & RunConfig.parse(config).trainer.arguments().keys()


class TestResumedConfig:
    @pytest.fixture
    def run(self, configured: Callable[..., DictConfig], tmp_path: Path) -> Path:
        config = configured("partial_mean_teacher", "seed=7")
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
        return tmp_path

    def test_the_run_s_own(self, run: Path) -> None:
        config = resumed(run, [f"resume={run}"])
        assert config.seed == 7
        assert config.name == "partial_mean_teacher"
        assert "mean_teacher" in config.loss

    def test_values_on_top(self, run: Path) -> None:
        overrides = ["trainer.max_epochs=9", "loss.iuc.weight=2.0", "+trainer.fast_dev_run=true"]
        config = resumed(run, overrides)
        assert config.trainer.max_epochs == 9
        assert config.loss["iuc"]["weight"] == 2.0  # type: ignore[index]
        assert config.trainer.arguments()["fast_dev_run"] is True
        assert config.trainer.log_every_n_steps == 1

    @pytest.mark.parametrize(
        "override", ["cohort=dhcp", "+experiment=supervised", "loss=[iuc]", "~teacher"]
    )
    def test_no_groups(self, run: Path, override: str) -> None:
        with pytest.raises(ConfigError, match="configuration group"):
            resumed(run, [override])

    def test_unknown_key(self, run: Path) -> None:
        with pytest.raises(ConfigError, match="max_epoch"):
            resumed(run, ["trainer.max_epoch=9"])

    def test_losses_of_an_earlier_version(self, run: Path) -> None:
        config = OmegaConf.load(run / "config.yaml")
        del config.loss.known_dice["published"]
        OmegaConf.save(config, run / "config.yaml")
        assert resumed(run, []).loss["known_dice"]["published"] is False  # type: ignore[index]
        config.loss.mean_teacher.ramp = {"steps": 400, "shape": "sigmoid", "start": 0}
        OmegaConf.save(config, run / "config.yaml")
        with pytest.raises(ConfigError, match=r"ramp\.steps is 400: .*a share of the training"):
            resumed(run, [])

    def test_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="not a run folder"):
            resumed(tmp_path / "nowhere", [])


def test_a_changed_rate_is_that_of_the_steps_that_follow(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the line says that is logged then; for another optimizer there is no state to go on."""
    run = tmp_path / "run"
    settings = ("partial_iuc", "optimizer.schedule=poly", "checkpoint.every_steps=1")
    with monkeypatch.context() as context:
        die_at("training_step", 3, SegmentationModule, context)
        with pytest.raises(Killed):
            train(configured(*settings), run)
    with pytest.raises(ConfigError, match=r"'optimizer\.name=sgd': the run was started with adamw"):
        resumed(run, [f"resume={run}", "optimizer.name=sgd"])
    with pytest.raises(ConfigError, match=r"schedule=plateau': the run was started with poly"):
        resumed(run, [f"resume={run}", "optimizer.schedule=plateau"])
    with pytest.raises(ConfigError, match="gathered since fits nothing else"):
        resumed(run, [f"resume={run}", "optimizer.patience=3"])
    same = shutil.copytree(run, tmp_path / "same")
    rate = OmegaConf.load(run / "config.yaml").optimizer.lr
    rates, weights = [], []
    for folder, lr in ((same, rate), (run, rate / 2)):
        asked = [f"resume={folder}", f"optimizer.lr={lr}", "optimizer.weight_decay=0.5"]
        train_run(resumed(folder, asked), folder, resuming=True)
        last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        (group,) = last["optimizer_states"][0]["param_groups"]
        rates.append([group["initial_lr"], *last["lr_schedulers"][0]["base_lrs"]])
        weights.append(last["state_dict"])
        assert group["weight_decay"] == 0.5
    assert rates[1] == [value / 2 for value in rates[0]] == [rate / 2] * 2
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_that_was_refused_can_be_started_otherwise(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    settings = ("supervised", "score=false", "trainer.max_epochs=1")
    with pytest.raises(ConfigError, match="is another network"):
        train(configured(*settings, f"init_from={other_weights(tmp_path)}"), tmp_path / "run")
    train(configured(*settings, "split.seed=5"), tmp_path / "run")
    train(configured(*settings, "split.seed=5"), tmp_path / "fresh")
    assert_same_runs(tmp_path / "fresh", tmp_path / "run")
    assert not (tmp_path / "run" / "seen.json").exists()
    with pytest.raises(ConfigError, match=r"split.seed was 5"):
        train(configured(*settings), tmp_path / "run")


def test_scans_that_are_refused_leave_no_run(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise DataError("a scan is damaged")

    with monkeypatch.context() as context:
        context.setattr("neoseg.runs.stage.prepared_data", damaged)
        with pytest.raises(DataError):
            train(configured("supervised"), tmp_path)
    assert not (tmp_path / "config.yaml").exists()


def other_weights(folder: Path) -> Path:
    torch.save({"layer.weight": torch.zeros(3)}, folder / "other.pt")
    return folder / "other.pt"


@pytest.mark.parametrize("finished", [False, True])
def test_a_resumed_run_that_is_refused_stays_as_it_was(
    finished: bool,
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the settings that cannot work would be those of the run from then on."""

    def files() -> dict[str, bytes]:
        noise = {".lock", "effort.json"} | (set() if finished else {"failed.json"})
        found = (path for path in tmp_path.iterdir() if path.is_file() and path.name not in noise)
        return {path.name: path.read_bytes() for path in found}

    settings = ("supervised", "score=false")
    if finished:
        train(configured(*settings, "trainer.max_epochs=1"), tmp_path)
    else:
        with monkeypatch.context() as context:
            die_at("training_step", 5, SegmentationModule, context)
            with pytest.raises(Killed):
                train(configured(*settings), tmp_path)
    before = files()
    for change in ("network.net.channels=[4,6]", "trainer.accelerator=tpu", "split.seed=5"):
        bad = resumed(tmp_path, [f"resume={tmp_path}", "trainer.max_epochs=3", change])
        with pytest.raises((NeosegError, ImportError)):
            train_run(bad, tmp_path, resuming=True)
        assert files() == before
    good = resumed(tmp_path, [f"resume={tmp_path}", "trainer.max_epochs=2"])
    train_run(good, tmp_path, resuming=True)
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 8
