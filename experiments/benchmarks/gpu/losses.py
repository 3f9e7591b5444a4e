"""Losses forward and backward beside MONAI's, nnU-Net's, and the floor that memory sets.

Those of neoseg are measured as they are on a GPU, by torch.compile, and as plain torch; a note says
how long their kernels run: what is above the floor is theirs, or that of starting them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch

from experiments.benchmarks.gpu.bench import Bench, Found, NotHereError, need_gpu
from experiments.benchmarks.gpu.material import random_batch
from experiments.benchmarks.losses.benchmark import LOSSES, build
from neoseg.losses.fused import compiled

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
            if package == "neoseg":
                bench.check(f"{precision}: {name}, plain torch", partial(timed, plain=True))
                extra = partial(memory, bench, name, precision)
                bench.check(f"{precision}: memory of {name}", extra)
    near = [row.check for row in bench.rows if row.status == "right" and row.unit == "floors"]
    print(f"  within {TIMES_FLOOR:.0f} x the floor: {'; '.join(near) or 'none'}", flush=True)


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


@contextmanager
def uncompiled(device: torch.device) -> Iterator[None]:
    """Let the losses of a device be plain torch, as where torch.compile has failed."""
    before = set(compiled._broken)
    compiled._broken.add(device.type)
    try:
        yield
    finally:
        compiled._broken.clear()
        compiled._broken.update(before)


def measured(
    bench: Bench, name: str, package: str, precision: str, rate: float, plain: bool = False
) -> Found:
    """Time of both passes; the floor reads the logits twice and writes their gradient once."""
    if importlib.util.find_spec(package) is None:
        raise NotHereError(f"{package} is not installed")
    if bench.dry and "compiled" in name:
        raise NotHereError("compiled on a GPU only")
    both, logits = passes(bench, name, precision)
    with uncompiled(bench.device) if plain else nullcontext():
        seconds = bench.seconds(both, repeats=1 if bench.dry else 5, warm=1)
        on_gpu = bench.device.type == "cuda"
        kernels = f", kernels {bench.kernels(both) * 1e3:.2f} ms" if on_gpu else ""
    floor = 3 * logits.nbytes / rate
    limit = bench.limit(TIMES_FLOOR) if package == "neoseg" and not plain else None
    note = f"{seconds * 1e3:.2f} ms{kernels}, floor {floor * 1e3:.2f} ms"
    return Found(seconds / floor, "floors", most=limit, note=note)


def memory(bench: Bench, name: str, precision: str) -> Found:
    """Memory of both passes, gradient included, as a share of the logits' own."""
    both, logits = passes(bench, name, precision)
    both()
    logits.grad = None
    need_gpu(bench)
    return Found(bench.peak(both) / logits.nbytes, "of the logits", most=EXTRA)
