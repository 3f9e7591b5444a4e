"""Groups compose as their files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError

TRAINERS = {"cpu": ("cpu", 1), "gpu": ("gpu", 1), "ddp": ("gpu", 4)}


@pytest.mark.parametrize("name", TRAINERS)
def test_trainers_build_on_each_other(name: str, compose_train: Callable[..., DictConfig]) -> None:
    trainer = compose_train(f"trainer={name}", f"trainer.accelerator={TRAINERS[name][0]}").trainer
    assert trainer.devices == TRAINERS[name][1]
    assert trainer.precision == ("32-true" if name == "cpu" else "bf16-mixed")
    assert trainer.gradient_clip_val == 1.0


def test_losses_combine(compose_train: Callable[..., DictConfig]) -> None:
    config = compose_train("loss=[iuc,noisy_or,mean_teacher]")
    assert set(config.loss) == {"iuc", "noisy_or", "mean_teacher"}


@pytest.mark.parametrize(
    "network", ["unet3d", "unet3d_large", "dynunet", "segresnet", "unet2d", "resenc"]
)
def test_networks_build_for_the_default_cohort(
    network: str, compose_train: Callable[..., DictConfig]
) -> None:
    size = "[1,64,64]" if network == "unet2d" else "[64,64,64]"
    config = compose_train(f"network={network}", f"patches.size={size}")
    run = RunConfig.parse(config)
    assert run.module(run.plan()).head.channels == run.space.num_classes


def test_config_folder_is_the_checkout() -> None:
    assert (CONFIG_DIR / "train.yaml").is_file()
    assert Path(__file__).resolve().parents[2] / "conf" == CONFIG_DIR


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("trainer.gradient_clip_val=inf", "trainer.gradient_clip_val = inf: expected a finite"),
        ("optimizer.lr=nan", "optimizer.lr = nan: expected a finite number"),
        ("split.fractions=[inf,0.1,0.1]", "split.fractions.0 = inf"),
        ("loss.iuc.weight=1e300", r"loss.iuc.weight = 1e\+300"),
        ("patches.workers=1000000000", "patches.workers = 1000000000"),
        ("store.processes=100000", "store.processes = 100000"),
        ("augment.spatial.elastic=1e9", "augment.spatial.elastic"),
        ("cohort.modalities=T2w", "cohort.modalities = 'T2w'"),
        ("cohort.modalities=null", "cohort.modalities = None: Input should be a list"),
        ("cohort.not_drawn=abc", "cohort.not_drawn = 'abc'"),
        ("+trainer.max_time=abc", "expected DD:HH:MM:SS such as 00:12:00:00"),
        ("+trainer.max_time={a:1}", "expected DD:HH:MM:SS such as 00:12:00:00"),
        ("trainer.max_epochs=null", "trainer.max_epochs is not set; set it, or trainer.max_steps"),
        ("trainer.deterministic=abc", "trainer.deterministic = 'abc'"),
        ("name='\\${seed}'", r"name = '\$\{seed\}': expected no \$\{"),
    ],
)
def test_values_that_cannot_work_are_named(
    setting: str, told: str, compose_train: Callable[..., DictConfig]
) -> None:
    """Before any work: such as a number that the run's own files could not hold."""
    with pytest.raises(ConfigError, match=told):
        RunConfig.parse(compose_train("+experiment=partial_iuc", setting))


def test_values_that_are_usual(compose_train: Callable[..., DictConfig]) -> None:
    assert RunConfig.parse(compose_train("+trainer.barebones=null", "trainer.max_steps=1"))
    usual = ("+trainer.max_time={hours:1}", "cohort.modalities=[1]", "trainer.deterministic=warn")
    assert RunConfig.parse(compose_train(*usual)).trainer.max_time == {"hours": 1}
