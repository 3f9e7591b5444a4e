"""The training loop with every option that a user expects of it, for two steps each."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import DictConfig
from tiny_run import train

from neoseg.configuration.run import RunConfig
from neoseg.configuration.trainer import TrainerSettings, require_clipped
from neoseg.findings.settings import ConfigError
from neoseg.runs import trainer as trainers
from neoseg.training.module import SegmentationModule
from neoseg.training.recipe import Stage

SMALL = (
    "score=false",
    "patches.size=[16,16,16]",
    "network.divisor=2",
    "network.net.channels=[4,8]",
    "network.net.strides=[2]",
    "+trainer.num_sanity_val_steps=0",
    "trainer.log_every_n_steps=1",
)
ONLY = Stage(1, True, "all", None, False)

pytestmark = pytest.mark.usefixtures("quick")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as handle:
        return [row for row in csv.DictReader(handle) if row["train/loss"]]


@pytest.mark.parametrize(
    "options",
    [
        ("trainer.precision=bf16-mixed",),
        ("trainer.gradient_clip_val=0.01", "trainer.accumulate_grad_batches=2"),
        ("trainer.gradient_clip_val=null", "optimizer=adam"),
        ("optimizer=sgd", "optimizer.warmup_steps=1"),
        ("optimizer.schedule=plateau", "optimizer.warmup_steps=1"),
        ("teacher.always=true", "early_stopping=1"),
        ("trainer.max_time=00:01:00:00",),
        ("+trainer.gradient_clip_algorithm=value",),
    ],
    ids=" ".join,
)
def test_an_option_trains_for_two_steps(
    options: tuple[str, ...], compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(compose_train("+experiment=partial_superclass", *SMALL, *options), tmp_path)
    accumulated = "trainer.accumulate_grad_batches=2" in options
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == (1 if accumulated else 2)
    assert all(math.isfinite(float(row["train/loss"])) for row in rows(tmp_path))


@pytest.mark.slow
def test_compiled_networks_train_to_nearly_the_same_weights(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    states = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        changes = (f"compile={compiled}", "loss=[iuc,cross_pseudo,mean_teacher]", "optimizer=sgd")
        train(compose_train("+experiment=partial_iuc", *SMALL, *changes), folder)
        path = folder / "checkpoints" / "last.ckpt"
        states.append(torch.load(path, weights_only=True)["state_dict"])
    assert list(states[0]) == list(states[1])  # no names of the compiler
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_gradient_is_clipped(
    compose_train: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    plain = SegmentationModule.optimizer_step

    def watched(self: SegmentationModule, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)
        parts = [p.grad.norm() for p in self.network.parameters() if p.grad is not None]
        norms.append(float(torch.stack(parts).norm()))

    monkeypatch.setattr(SegmentationModule, "optimizer_step", watched)
    for limit in ("0.01", "null"):
        config = compose_train(
            "+experiment=supervised", *SMALL, f"trainer.gradient_clip_val={limit}"
        )
        train(config, tmp_path / limit)
    assert max(norms[:2]) <= 0.01 * 1.001
    assert min(norms[2:]) > 0.01


def test_bf16_is_mixed_precision(compose_train: Callable[..., DictConfig], tmp_path: Path) -> None:
    config = compose_train("trainer=cpu", "trainer.precision=bf16-mixed")
    found = trainers.stage_trainer(RunConfig.parse(config), tmp_path, ONLY)
    assert isinstance(found.precision_plugin, MixedPrecision)
    assert found.precision_plugin.precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.precision=16-mixed"], "16-mixed, which a CPU does not have; use bf16-mixed"),
        (["trainer.precision=16-true"], "'16-true'.*'32-true', 'bf16-mixed' or '16-mixed'"),
        (["trainer.max_time=2h"], r"trainer.max_time = '2h': expected DD:HH:MM:SS"),
        (["+trainer.max_epoch=3"], "max_epoch"),
        (["trainer.accelerator=abacus"], "abacus"),
        (["trainer.devices=2", "patches.batch_size=3"], "another multiple of 2"),
    ],
)
def test_what_cannot_be_is_one_message(
    options: list[str], message: str, compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        trainers.stage_trainer(RunConfig.parse(compose_train(*options)), tmp_path, ONLY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_one_message(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_train("trainer=gpu", "trainer.accelerator=gpu")
    with pytest.raises(ConfigError, match="trainer cannot be built"):
        trainers.stage_trainer(RunConfig.parse(config), tmp_path, ONLY)


def test_a_sweep_does_not_start_processes_that_would_sweep_themselves(
    compose_train: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_train(
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"
    )
    trainers.stage_trainer(RunConfig.parse(config), tmp_path, ONLY)
    monkeypatch.setattr(trainers, "sweeping", lambda: True)
    with pytest.raises(ConfigError, match=r"a sweep \(-m\) cannot start 2 processes"):
        trainers.stage_trainer(RunConfig.parse(config), tmp_path, ONLY)
    assert not HydraConfig.initialized()


def test_a_fused_optimizer_does_not_keep_gradients_from_being_clipped() -> None:
    clipped = TrainerSettings.model_construct(precision="16-mixed", gradient_clip_val=12.0)
    require_clipped(clipped, fused=False)
    require_clipped(clipped.model_copy(update={"precision": "bf16-mixed"}), fused=True)
    with pytest.raises(ConfigError, match=r"gradient_clip_val=12.0: .*optimizer\.fused=false"):
        require_clipped(clipped, fused=True)
