"""Runs of two processes, whole and interrupted, and of one: `python two_processes.py FOLDER`.

The processes of each run are forked from this one, which has imported everything and computed
nothing, and train together over gloo on the loopback device.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import RUN
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tiny_run import train

from neoseg.commands.entry import quieten
from neoseg.configuration.config import CONFIG_DIR
from neoseg.patches.batch import Batch
from neoseg.patches.volumes import VolumeSample
from neoseg.training import progress_lines
from neoseg.training.module import SegmentationModule

OPTIONS = (
    "+experiment=partial_mean_teacher",
    *RUN,
    # Dropout is drawn on each process for its own items.
    "network.net.dropout=0.0",
    "optimizer=sgd",
    "optimizer.warmup_steps=2",
    "patches.batch_size=4",
    "checkpoint.every_steps=3",
    "split.fractions=[0.5,0.5,0.0]",
)
DEADLY_STEP = 5
SECONDS = 100


def configured(data: Path, processes: int) -> DictConfig:
    """Compose the configuration of a run with so many processes."""
    strategy = ["trainer.strategy=ddp", f"trainer.devices={processes}"] if processes > 1 else []
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", [*OPTIONS, *strategy, f"paths.data={data}"])


def run_rank(config: DictConfig, folder: Path, rank: int, port: int, dies: bool) -> None:
    """Train as one process of a run that was started as on a cluster."""
    if config.trainer.devices > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"WORLD_SIZE": "2", "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    quieten()
    progress_lines.draw_curves = lambda rows, path: None  # seconds, and not meant here
    step, note = SegmentationModule.training_step, folder / f"rank-{rank}.txt"
    watched = watching(step, note, DEADLY_STEP if dies else None)
    SegmentationModule.training_step = watched  # type: ignore[method-assign]
    validation, seen = SegmentationModule.validation_step, folder / f"validated-{rank}.txt"
    SegmentationModule.validation_step = noting(validation, seen)  # type: ignore[method-assign]
    train(config, folder)


def watching(step: Callable[..., Any], note: Path, deadly: int | None) -> Callable[..., Any]:
    """Return a training step that notes how many processes there are and how many items it has.

    It ends its process, as SIGKILL does, when it is called for the time after `deadly` ones.
    """
    calls = [0]

    def wrapped(self: SegmentationModule, batch: Batch, number: int) -> Any:
        note.write_text(f"{self.trainer.world_size} {len(batch)}")
        if calls[0] == deadly:
            os._exit(137)
        calls[0] += 1
        return step(self, batch, number)

    return wrapped


def noting(step: Callable[..., Any], note: Path) -> Callable[..., Any]:
    """Return a validation step that notes the numbers of its scans."""

    def wrapped(self: SegmentationModule, sample: VolumeSample, number: int) -> Any:
        with note.open("a") as file:
            file.write(f"{sample.number}\n")
        return step(self, sample, number)

    return wrapped


def free_port() -> int:
    """Return a port of the loopback device that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(config: DictConfig, folder: Path, dies: bool = False) -> None:
    """Fork the processes of a run and end them if they hang."""
    folder.mkdir(exist_ok=True)
    context, port = multiprocessing.get_context("fork"), free_port()
    ranks = [
        context.Process(target=run_rank, args=(config, folder, rank, port, dies), daemon=False)
        for rank in range(int(config.trainer.devices))
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(SECONDS)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        if process.is_alive():
            process.kill()
            process.join()
    if codes != [137 if dies else 0] * len(ranks):
        sys.exit(f"the processes of {folder.name} ended with {codes}")


def main(folder: Path) -> None:
    """Do all runs, one after the other, in folders of their names."""
    run(configured(folder / "data", 1), folder / "one")
    run(configured(folder / "data", 2), folder / "two")
    run(configured(folder / "data", 2), folder / "resumed", dies=True)
    if not (folder / "resumed" / "checkpoints" / "last.ckpt").is_file():
        sys.exit("the interrupted run left no checkpoint")
    run(configured(folder / "data", 2), folder / "resumed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
