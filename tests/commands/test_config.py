"""Groups compose as their files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig

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
