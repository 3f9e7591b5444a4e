"""Losses forward and backward beside MONAI's, nnU-Net's, and the floor that memory sets."""

from __future__ import annotations

import importlib.util
from functools import partial

import torch

from experiments.benchmarks.gpu.bench import Bench, Found, NotHereError
from experiments.benchmarks.gpu.material import random_batch
from experiments.benchmarks.losses.benchmark import LOSSES, build

BATCH, CLASSES, SIZE = 2, 88, (128, 128, 128)
TIMES_FLOOR = 2.0
EXTRA = 1.1


def run(bench: Bench) -> None:
    """Measure the bandwidth, then each loss in bfloat16 and float32."""
    rates: list[float] = []
    bench.check("bandwidth of a copy", partial(bandwidth, bench, rates))
    if not rates:  # it stands in the results already, and the floor needs it
        bandwidth(bench, rates)
    for precision in ("bfloat16", "float32"):
        for name, package in LOSSES.items():
            if "without compiler" in name:  # of the CPU
                continue
            timed = partial(measured, bench, name, package, precision, rates[0])
            bench.check(f"{precision}: {name}", timed)
            if package == "neoseg" and bench.device.type == "cuda":
                extra = partial(memory, bench, name, precision)
                bench.check(f"{precision}: memory of {name}", extra)


def bandwidth(bench: Bench, rates: list[float]) -> Found:
    """Bytes a second that a copy reads and writes together."""
    count = 2**18 if bench.dry else 2**29
    source = torch.ones(count, device=bench.device)
    target = torch.empty_like(source)
    rates.append(2 * source.nbytes / bench.seconds(lambda: target.copy_(source)))
    return Found(rates[-1] / 1e9, "GB/s")


def passes(bench: Bench, name: str, precision: str) -> tuple[partial[None], torch.Tensor]:
    """Return forward and backward pass of a loss as a function, and its logits."""
    size, classes = ((8, 8, 8), 6) if bench.dry else (SIZE, CLASSES)
    channels = classes + 1 if "sigmoid" in name else classes
    logits, leaf = random_batch(bench, BATCH, channels, size, getattr(torch, precision))
    loss = build(name, logits, leaf % classes)

    def both() -> None:
        logits.grad = None
        loss().backward()

    return partial(both), logits


def measured(bench: Bench, name: str, package: str, precision: str, rate: float) -> Found:
    """Time of both passes; the floor reads the logits twice and writes their gradient once."""
    if importlib.util.find_spec(package) is None:
        raise NotHereError(f"{package} is not installed")
    if bench.dry and "compiled" in name:
        raise NotHereError("compiled on a GPU only")
    both, logits = passes(bench, name, precision)
    seconds = bench.seconds(both, repeats=1 if bench.dry else 5, warm=1)
    floor = 3 * logits.nbytes / rate
    limit = bench.limit(TIMES_FLOOR) if package == "neoseg" else None
    note = f"{seconds * 1e3:.2f} ms, floor {floor * 1e3:.2f} ms"
    return Found(seconds / floor, "floors", most=limit, note=note)


def memory(bench: Bench, name: str, precision: str) -> Found:
    """Memory of both passes, gradient included, as a share of the logits' own."""
    both, logits = passes(bench, name, precision)
    both()
    logits.grad = None
    return Found(bench.peak(both) / logits.nbytes, "of the logits", most=EXTRA)
