"""Runs, networks and batches that the checks share, at full and at toy size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments.benchmarks.gpu.bench import Bench, use_tests

use_tests()
from tiny_run import TINY, train  # noqa: E402

from neoseg.commands.entry import quieten  # noqa: E402
from neoseg.configuration.config import CONFIG_DIR  # noqa: E402
from neoseg.configuration.run import RunConfig  # noqa: E402
from neoseg.networks import build_network  # noqa: E402
from neoseg.patches.batch import Batch, collate  # noqa: E402

SHORT = (
    *(key for key in TINY if not key.startswith("trainer.accelerator")),
    "patches.steps_per_epoch=4",
    "optimizer.warmup_steps=2",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "logger=csv",
    "score=false",
    "pictures=0",
    "plan=none",
)
"""Two epochs of four steps on tiny phantoms."""


def configured(bench: Bench, experiment: str, *more: str) -> DictConfig:
    """Compose a run of an experiment on the bench's device."""
    accelerator = "gpu" if bench.device.type == "cuda" else "cpu"
    overrides = [f"+experiment={experiment}", *more, f"paths.data={bench.scratch / 'data'}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", [*overrides, f"trainer.accelerator={accelerator}"])


def train_run(bench: Bench, name: str, experiment: str, *more: str) -> Path:
    """Train a run as the command does; return its folder, which an earlier start may have begun."""
    folder = bench.scratch / "runs" / f"{bench.device.type}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    quieten()
    train(configured(bench, experiment, *more), folder)
    return folder


def train_batch(bench: Bench) -> Batch:
    """Return a batch as loader processes leave it to the accelerator."""
    options = ("augment=strong", "augment.device=accelerator")
    run = RunConfig.parse(configured(bench, "partial_iuc", *SHORT, *options))
    data = run.data(run.plan(), with_teacher=False)
    data.setup()
    dataset = data.train_dataloader().dataset
    batch = collate([dataset[0, item] for item in range(2)])
    assert isinstance(batch, Batch)
    return batch


def network_of(name: str, leaves: int, size: Sequence[int], small: bool = False) -> nn.Module:
    """Return a network of `conf/network` for one modality; `small` has an eighth of its filters."""
    settings = OmegaConf.to_container(OmegaConf.load(Path(CONFIG_DIR) / "network" / f"{name}.yaml"))
    assert isinstance(settings, dict)
    key = "filters" if "filters" in settings["net"] else "channels"
    if small:
        settings["net"][key] = [max(4, n // 8) for n in settings["net"][key]]
    return build_network(settings, 1, leaves, size).train()


def random_batch(
    bench: Bench, batch: int, channels: int, size: Sequence[int], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random logits `[B, N, *S]` that ask for a gradient, and leaves int64 `[B, *S]`."""
    generator = torch.Generator(bench.device).manual_seed(0)
    shape = (batch, channels, *size)
    logits = torch.randn(shape, generator=generator, device=bench.device, dtype=dtype)
    space = (batch, *size)
    leaf = torch.randint(0, channels, space, generator=generator, device=bench.device)
    return logits.requires_grad_(), leaf
