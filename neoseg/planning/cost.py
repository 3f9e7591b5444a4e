"""What a training step costs: counted for a network, measured for this machine."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.networks import build_network, divisors_of
from neoseg.patches.batch import Batch, collate
from neoseg.patches.dataset import PatchDataset
from neoseg.planning.topology import Shape
from neoseg.training.module import SegmentationModule
from neoseg.training.optimisation import make_optimizer
from neoseg.training.recipe import stages_of

LONGEST, REPEATS = 2.0, 3
"""Seconds of what is measured, about, and how often."""

SPEED = 20e9
"""Floating-point operations a second that a core does at least."""

BASE = 700 << 20
"""Bytes of a process that has imported everything."""

WEIGHTS, KEPT, LARGEST = 4.0, 1.0, 3.0
"""Times that a step holds the weights (with gradients and two moments of the optimizer), what the
forward pass keeps, and the largest of it (a gradient in and out, a copy of another layout)."""


@dataclass(frozen=True)
class Counted:
    """One item through a network, forward and backward, in float32.

    Attributes:
        flops: multiplications and additions.
        kept: bytes that the forward pass keeps for the backward one, logits among them.
        largest: bytes of the largest of them.
        weights: bytes of the parameters.
    """

    flops: float
    kept: int
    largest: int
    weights: int

    def times(self, factor: float) -> Counted:
        """Return the same for a patch of so many times the voxels."""
        largest = round(self.largest * factor)
        return Counted(self.flops * factor, round(self.kept * factor), largest, self.weights)


def memory_of(counted: Counted, items: int, bytes_share: float = 1.0) -> float:
    """Return the bytes at the peak of a training step.

    Args:
        counted: for one item.
        items: of a device.
        bytes_share: of float32 that the network's activations have.
    """
    activations = items * bytes_share * (KEPT * counted.kept + LARGEST * counted.largest)
    return BASE + WEIGHTS * counted.weights + activations


def count_of(
    network: Mapping[str, Any],
    channels: int,
    outputs: int,
    size: Sequence[int],
    allow: Sequence[str] = (),
) -> Counted:
    """Count what a `conf/network` entry does with one item; nothing is computed.

    Args:
        network: the entry.
        channels: images that it reads.
        outputs: logits that it gives.
        size: voxels of the patch.
        allow: packages beside the known ones whose networks may be built.
    """
    kept: dict[int, tuple[int, Any]] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage._cdata] = storage.nbytes(), storage  # held, so that no number comes twice
        return value

    with torch.device("meta"):
        built = build_network(network, channels, outputs, size, allow).train()
        image = torch.empty(1, channels, *size)
    weights = {value.untyped_storage()._cdata for value in built.parameters()}
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(note, lambda value: value),
    ):
        logits = built(image)
    sizes = [nbytes for key, (nbytes, _) in kept.items() if key not in weights]
    # The loss keeps the logits, too, and makes others like them.
    logits = [logits] if torch.is_tensor(logits) else logits
    sizes += [value.nbytes for value in logits if value.untyped_storage()._cdata not in kept]
    return Counted(
        3.0 * counter.get_total_flops(),  # the backward pass has two products for each
        sum(sizes),
        max(sizes),
        sum(value.numel() * value.element_size() for value in built.parameters()),
    )


@dataclass(frozen=True)
class Expected:
    """What a training is expected to cost.

    Attributes:
        memory: bytes at the peak of a process: of a GPU where it trains on one.
        step: seconds.
        steps: of all stages together.
    """

    memory: float
    step: float
    steps: int

    def __str__(self) -> str:
        hours = self.step * self.steps / 3600
        time = f"{hours:.1f} h" if hours >= 1.5 else f"{hours * 60:.0f} min"
        return (
            f"{self.memory / 2**30:.1f} GiB at the peak, {self.step:.3g} s a step, {time} for "
            f"{self.steps} steps without validation"
        )


def expected(run: RunConfig, plan: Plan) -> Expected:
    """Predict memory and time of a run on this machine, by a few steps on a small patch.

    Raises:
        DataError: scans that cannot be used.
    """
    # A scan of each stream is enough, and those may be all that are prepared.
    firsts = {item.stream: item for _, item in reversed(plan.of_split("train"))}.values()
    data = run.data(plan.keeping(lambda item: item in firsts), False)
    module = run.module(plan)
    data.with_teacher = module.objective.needs_teacher
    data.setup()
    dataset = data.train_dataloader().dataset
    assert isinstance(dataset, PatchDataset)
    channels, outputs = run.input_channels(plan), module.head.channels
    counted = count_of(run.network, channels, outputs, run.patches.size, run.allow)
    gpu, items = on_gpu(run), math.ceil(run.patches.batch_size / run.trainer.processes)
    half = gpu and run.trainer.precision != "32-true"
    learners = len(module.learners)
    held = replace(counted, kept=learners * counted.kept, weights=learners * counted.weights)
    speed = SPEED * (1000 if gpu else torch.get_num_threads())
    share = min(1.0, LONGEST * speed / (learners * counted.flops))
    epochs = [stage.epochs or run.trainer.max_epochs or 0 for stage in stages_of(run.recipe)]
    steps = math.ceil(run.patches.steps_per_epoch / run.trainer.accumulate_grad_batches)
    return Expected(
        memory_of(held, items, 0.5 if half else 1.0),
        _seconds(run, module, dataset, items, share, "cuda" if gpu else "cpu"),
        steps * sum(epochs),
    )


def on_gpu(run: RunConfig) -> bool:
    """Tell whether a run trains on a GPU of this machine."""
    return run.trainer.accelerator != "cpu" and torch.cuda.is_available()


def _seconds(
    run: RunConfig,
    module: SegmentationModule,
    dataset: PatchDataset,
    items: int,
    share: float,
    device: str,
) -> float:
    """Measure a step; one that takes long is told from an item, or from a part of one."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    now = time.process_time if alone else time.perf_counter  # others may be at work here

    def clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return now()

    def timed(size: Shape, items: int) -> float:
        """Seconds of the passes for a batch, the least of some."""
        cut = copy(dataset)
        cut.patches = dataset.patches.model_copy(update={"size": size})
        batch = collate([cut[0, item] for item in range(items)])
        assert isinstance(batch, Batch)
        batch = batch.to(device).with_intensities()
        times: list[float] = []
        while len(times) < REPEATS:
            start = clock()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Lightning's: there is no trainer to log to
                with torch.autocast(device, torch.bfloat16, enabled=half):
                    loss = module.training_step(batch, 0)
                loss.backward()
            times.append(clock() - start)
        return min(times)

    half = run.trainer.precision != "32-true"
    module.to(device).train()
    part = _smaller(run.patches.size, divisors_of(run.network), share)
    passes, parts = timed(part, 1), items * math.prod(run.patches.size) / math.prod(part)
    if 1 < parts <= 3 * LONGEST / passes:
        passes = timed(run.patches.size, items)
    elif parts > 1:  # what the weights cost comes once a step, whatever its items
        passes += (parts - 1) * max(0.0, timed(part, 2) - passes)
    optimizer = make_optimizer(run.optimizer, module.parameters(), run.allow)
    start = clock()
    optimizer.step()
    update = clock() - start
    start = clock()
    dataset[1, 0]
    data = (clock() - start) * items
    loaders = run.patches.workers or 0
    return max(passes + update, data / loaders) if loaders else passes + update + data


def _smaller(size: Shape, divisors: Shape, share: float) -> Shape:
    """Return about a share of a patch, of which no axis is shorter than twice what divides it."""
    found = list(size)
    while math.prod(found) > share * math.prod(size):
        axes = [a for a in range(3) if found[a] > 2 * divisors[a]]
        if not axes:
            break
        axis = max(axes, key=found.__getitem__)
        found[axis] -= divisors[axis]
    return found[0], found[1], found[2]
