"""Time of a training step fed by the engine over that of a step on one batch in memory.

    python experiments/benchmarks/data/steps.py [--blocks 60] [--steps 8] [override ...]

The default network, patches and loader processes, in one training that takes turns every two
seconds: a block of steps with batches of the engine, a block with one batch that stays in memory,
while the loader processes are stopped. So whatever else disturbs the machine meets both alike. The
first pair of blocks does not count. A block of a training that cuts its patches itself counts as a
whole, with all that was cut for it; of one with loader processes the first two steps do not count:
from then on each takes one batch and has the loaders make one. Needs all cores for itself. Scans
are phantoms, generated on first use below `--data`. Prints a Markdown table and replaces its rows
in `loading.csv`.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback
from scipy import stats
from table import parser_of, record
from torch.utils.data import DataLoader

from neoseg.commands.entry import quieten
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.patches.batch import Batch
from neoseg.patches.datamodule import AHEAD, MixedDataModule
from neoseg.runs.stage_data import prepared_data
from neoseg.training.recipe import Stage

LIMIT = 1.05

UNSTEADY = 2
"""First steps of a block that find batches which loader processes made before."""


class InTurns:
    """Batches of the engine and one batch in memory, block by block."""

    def __init__(self, engine: DataLoader[Batch], batch: Batch, steps: int, blocks: int) -> None:
        self.engine, self.batch, self.steps, self.blocks = engine, batch, steps, blocks
        self.loaders: list[int] = []

    def __len__(self) -> int:
        return 2 * self.steps * self.blocks

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.engine)
        self.loaders = [process.pid for process in getattr(batches, "_workers", [])]
        for _ in range(self.blocks):
            for _ in range(self.steps):
                yield next(batches)
            try:
                for loader in self.loaders:
                    os.kill(loader, signal.SIGSTOP)
                for _ in range(self.steps):
                    yield self.batch
            finally:
                for loader in self.loaders:
                    os.kill(loader, signal.SIGCONT)


class Clock(Callback):
    """When each step began and ended; a step begins when its batch has come."""

    def __init__(self) -> None:
        self.begins: list[float] = []
        self.ends: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Note the time."""
        self.begins.append(time.perf_counter())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Note the time when the device has finished as well."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def block(self, number: int, steps: int, warm: int) -> tuple[float, float]:
        """Return the seconds of a step in a block without its first steps, and those of waiting."""
        first, last = number * steps + warm, (number + 1) * steps
        waits = [self.begins[step] - self.ends[step - 1] for step in range(first, last)]
        return (self.ends[last - 1] - self.ends[first - 1]) / (last - first), statistics.mean(waits)


def measure(options: argparse.Namespace) -> None:
    """Train, and compare each block of the engine with that in memory after it."""
    total = options.steps * options.blocks
    overrides = [f"paths.data={options.data}", f"patches.steps_per_epoch={total}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(
            "train", [f"+experiment={options.experiment}", *overrides, *options.override]
        )
    run = RunConfig.parse(config)
    plan = run.plan()
    L.seed_everything(0, verbose=False)
    module = run.module(plan)
    stage = Stage(1, True, "all", None, False)
    data = prepared_data(run, plan, stage, module.objective.needs_teacher)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    clock = Clock()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator=run.trainer.accelerator,
        precision=run.trainer.precision,
        gradient_clip_val=run.trainer.gradient_clip_val,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[clock],
    )
    turns: list[InTurns] = []
    trainer.fit(module, _feeding(data, batch, options.steps, options.blocks, turns))
    processes = len(turns[0].loaders)
    warm = UNSTEADY if processes else 0
    found = [clock.block(n, options.steps, warm) for n in range(2, 2 * options.blocks)]
    fed, held = ([seconds for seconds, _ in found[part::2]] for part in (0, 1))
    ratios = [a / b for a, b in zip(fed, held, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    first, last = between(ratios)
    waits = [wait / seconds for seconds, wait in found[::2]]
    about = (
        f"{options.experiment}, {len(fed)} blocks of {options.steps - warm} steps, "
        f"{processes} loader processes"
    )
    reach = f"at most {LIMIT}"
    record(
        ", ".join(["steps", *options.override]),
        [
            (f"engine ({about})", statistics.median(fed), "s a step", ""),
            ("one batch in memory", statistics.median(held), "s a step", ""),
            ("engine / one batch, median of the blocks", statistics.median(ratios), "", reach),
            ("95 % interval of that median from", first, f"to {last:.4g}", ""),
            ("half of the ratios lie from", low, f"to {high:.4g}", ""),
            ("share of a step between it and the last", 100 * statistics.median(waits), "%", ""),
        ],
    )


def between(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by the ranks of a binomial distribution."""
    found = stats.binomtest(len(values) // 2, len(values)).proportion_ci()
    ordered = sorted(values)
    first, last = int(found.low * len(values)), math.ceil(found.high * len(values)) - 1
    return ordered[first], ordered[last]


def _feeding(
    data: MixedDataModule, batch: Batch, steps: int, blocks: int, made: list[InTurns]
) -> MixedDataModule:
    """Return the data module, now with batches in turns, which are kept in `made`."""
    engine = data.train_dataloader

    def in_turns() -> InTurns:
        made.append(InTurns(engine(), batch, steps, blocks))
        return made[-1]

    data.train_dataloader = in_turns  # type: ignore[method-assign,assignment]
    return data


def main() -> None:
    """Read the command line and measure."""
    quieten()
    parser = parser_of(__doc__)
    parser.add_argument("--experiment", default="partial_superclass")
    parser.add_argument(
        "--blocks", type=int, default=61, help="with the engine, and as many without"
    )
    parser.add_argument(
        "--steps", type=int, default=2 * AHEAD, help=f"of a block, a multiple of {AHEAD}"
    )
    parser.add_argument("override", nargs="*", help="of the configuration, such as patches=gpu")
    options = parser.parse_args()
    if options.steps % AHEAD or options.blocks < 2:
        parser.error(f"--steps must be a multiple of {AHEAD}, --blocks 2 or more")
    measure(options)


if __name__ == "__main__":
    main()
