"""Memory and time of a training step: counted for a network, measured on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.networks import build_network, divisors_of
from neoseg.patches.dataset import PatchDataset
from neoseg.planning.step_timer import StepTimer
from neoseg.planning.topology import Shape
from neoseg.progress import duration
from neoseg.training.module import SegmentationModule
from neoseg.training.optimisation import make_optimizer
from neoseg.training.recipe import stages_of

TARGET_SECONDS = 2.0
"""Approximate duration of a measured step."""

CORE_FLOPS = 20e9
"""Lower bound of the floating-point operations per second of a core."""

BASE_MEMORY = 700 << 20
"""Bytes of a process that has imported everything."""

WEIGHT_COPIES, SAVED_COPIES, LARGEST_COPIES = 4.0, 1.0, 3.0
"""Copies that a step holds at its peak: of the weights (with gradients and two moments of the
optimizer), of the tensors saved for the backward pass, and of the largest of these (its input and
output gradients, and a copy in another memory layout)."""


@dataclass(frozen=True)
class Counted:
    """Cost of the forward and backward pass of one item in float32.

    Attributes:
        flops: number of multiplications and additions.
        kept: bytes saved for the backward pass, including the logits.
        largest: bytes of the largest tensor among these.
        weights: bytes of the parameters.
    """

    flops: float
    kept: int
    largest: int
    weights: int

    def times(self, factor: float) -> Counted:
        """Return the cost for a patch with `factor` times as many voxels."""
        largest = round(self.largest * factor)
        return Counted(self.flops * factor, round(self.kept * factor), largest, self.weights)


def memory_of(counted: Counted, items: int, bytes_share: float = 1.0) -> float:
    """Return the peak memory of a training step in bytes.

    Args:
        counted: cost of one item.
        items: number of items per device.
        bytes_share: size of the activations relative to float32.
    """
    activations = (
        items * bytes_share * (SAVED_COPIES * counted.kept + LARGEST_COPIES * counted.largest)
    )
    return BASE_MEMORY + WEIGHT_COPIES * counted.weights + activations


def count_of(
    network: Mapping[str, Any],
    channels: int,
    outputs: int,
    size: Sequence[int],
    allow: Sequence[str] = (),
) -> Counted:
    """Count the cost of one item for a `conf/network` entry, on the meta device.

    Args:
        network: the entry.
        channels: number of input channels.
        outputs: number of output channels (logits).
        size: voxels of the patch.
        allow: further packages whose networks may be built.
    """
    saved: dict[int, tuple[int, Any]] = {}

    def record(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        saved[storage._cdata] = storage.nbytes(), storage  # held, so that no address is reused
        return value

    with torch.device("meta"):
        model = build_network(network, channels, outputs, size, allow).train()
        image = torch.empty(1, channels, *size)
    weights = {value.untyped_storage()._cdata for value in model.parameters()}
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(record, lambda value: value),
    ):
        logits = model(image)
    sizes = [nbytes for key, (nbytes, _) in saved.items() if key not in weights]
    # The loss saves the logits, too, and creates tensors of their size.
    logits = [logits] if torch.is_tensor(logits) else logits
    sizes += [value.nbytes for value in logits if value.untyped_storage()._cdata not in saved]
    return Counted(
        3.0 * counter.get_total_flops(),  # the backward pass has two products for one
        sum(sizes),
        max(sizes),
        sum(value.numel() * value.element_size() for value in model.parameters()),
    )


@dataclass(frozen=True)
class Expected:
    """Expected cost of a training.

    Attributes:
        memory: peak memory of a process in bytes; GPU memory if it trains on a GPU.
        step: seconds per step.
        steps: total number of steps over all stages.
    """

    memory: float
    step: float
    steps: int

    def __str__(self) -> str:
        return (
            f"{self.memory / 2**30:.1f} GiB at the peak, {self.step:.3g} s a step, "
            f"{duration(self.step * self.steps)} for {self.steps} steps without validation"
        )


def expected(run: RunConfig, plan: Plan) -> Expected:
    """Predict memory and time of a run on this machine from a few steps on a small patch.

    Raises:
        DataError: unusable scans.
    """
    # One scan per stream is enough, and avoids preparing all of them.
    first_items = {item.stream: item for _, item in reversed(plan.of_split("train"))}.values()
    data = run.data(plan.keeping(lambda item: item in first_items), False)
    module = run.module(plan)
    data.with_teacher = module.objective.needs_teacher
    data.setup()
    dataset = data.train_dataloader().dataset
    assert isinstance(dataset, PatchDataset)
    channels, outputs = run.input_channels(plan), module.head.channels
    counted = count_of(run.network, channels, outputs, run.patches.size, run.allow)
    gpu, items = on_gpu(run), math.ceil(run.patches.batch_size / run.trainer.processes)
    half_precision = gpu and run.trainer.precision != "32-true"
    learners = len(module.learners)
    total = replace(counted, kept=learners * counted.kept, weights=learners * counted.weights)
    speed = CORE_FLOPS * (1000 if gpu else torch.get_num_threads())
    size_share = min(1.0, TARGET_SECONDS * speed / (learners * counted.flops))
    epochs = [stage.epochs or run.trainer.max_epochs or 0 for stage in stages_of(run.recipe)]
    steps = math.ceil(run.patches.steps_per_epoch / run.trainer.accumulate_grad_batches)
    return Expected(
        memory_of(total, items, 0.5 if half_precision else 1.0),
        _seconds(run, module, dataset, items, size_share, "cuda" if gpu else "cpu"),
        steps * sum(epochs),
    )


def on_gpu(run: RunConfig) -> bool:
    """Return whether a run trains on a GPU of this machine."""
    return run.trainer.accelerator != "cpu" and torch.cuda.is_available()


def _seconds(
    run: RunConfig,
    module: SegmentationModule,
    dataset: PatchDataset,
    items: int,
    share: float,
    device: str,
) -> float:
    """Measure a step; a long one is extrapolated from a single item, or from part of an item."""
    single_thread = device == "cpu" and torch.get_num_threads() == 1
    # CPU time excludes other processes on the machine.
    clock = time.process_time if single_thread else time.perf_counter
    timer = StepTimer(module, dataset, device, run.trainer.precision != "32-true", clock)
    module.to(device).train()
    size = run.patches.size
    part_size = _smaller(size, divisors_of(run.network), share)
    passes, parts = timer.passes(part_size, 1), items * math.prod(size) / math.prod(part_size)
    if 1 < parts <= 3 * TARGET_SECONDS / passes:
        passes = timer.passes(size, items)
    elif parts > 1:  # the cost of the weights occurs once per step
        passes += (parts - 1) * max(0.0, timer.passes(part_size, 2) - passes)
    optimizer = make_optimizer(run.optimizer, module.parameters(), run.allow)
    update = timer.seconds(lambda: optimizer.step())
    data = timer.seconds(lambda: dataset[1, 0]) * items
    loaders = run.patches.workers or 0
    return max(passes + update, data / loaders) if loaders else passes + update + data


def _smaller(size: Shape, divisors: Shape, share: float) -> Shape:
    """Shrink a patch to about a share of its voxels; each axis keeps at least twice its divisor."""
    shape = list(size)
    while math.prod(shape) > share * math.prod(size):
        axes = [a for a in range(3) if shape[a] > 2 * divisors[a]]
        if not axes:
            break
        axis = max(axes, key=shape.__getitem__)
        shape[axis] -= divisors[axis]
    return shape[0], shape[1], shape[2]
