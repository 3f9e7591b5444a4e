"""A training step of `unet3d_large` in bfloat16, alone and with its data, beside nnU-Net's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.gpu.bench import ROOT, Bench, Found, NotHereError, _version, need_gpu
from experiments.benchmarks.gpu.material import SHORT, network_of, train_run
from experiments.benchmarks.gpu.training import changed_step, fresh
from experiments.benchmarks.step.run import objective
from neoseg.labels import STREAMS
from neoseg.losses import Prediction
from neoseg.networks.outputs import heads_of
from neoseg.tracking import METRICS
from neoseg.tracking.curves import mean_times
from neoseg.training.optimisation import OptimizerSettings, make_optimizer
from neoseg.training.speed import Compiling, begin_step, compile_network, put_channels_last
from neoseg.training.supervision import deep_objective

BATCH, SIZE, LEAVES = 2, (128, 128, 128), (14, 88)
WAITING = 0.02
TIMES_NNUNET = 2.0
NNUNET = "nnU-Net"
VARIANTS: dict[str, tuple[bool, bool, Compiling]] = {
    "usual": (False, False, False),
    "fused optimizer": (True, False, False),
    "channels last, fused": (True, True, False),
    "compiled, fused": (True, False, True),
    "compiled, channels last, fused": (True, True, True),
    "CUDA graphs, fused": (True, False, "reduce-overhead"),
}
"""Fused optimizer, channels last, compiled."""


def run(bench: Bench) -> None:
    """Measure steps, what keeps the device waiting in them, and whole trainings."""
    speeds: dict[int, dict[str, float]] = {}
    counts = (3,) if bench.dry else LEAVES

    def steps(leaves: int, compiled: bool) -> None:
        for name, variant in VARIANTS.items():
            if compiled == bool(variant[2]):
                timed = partial(rate, bench, leaves, name, speeds.setdefault(leaves, {}))
                bench.check(f"{leaves} leaves: step, {name}", timed)

    for leaves in counts:
        steps(leaves, compiled=False)
    bench.check("busy share of the device in a step", partial(busy, bench))
    bench.check("synchronisations in steps of a training", partial(synchronisations, bench))
    bench.check("memory of a step", partial(memory, bench))
    bench.check("waiting for data in a training", partial(waiting, bench))
    for leaves in counts:
        name = f"{leaves} leaves: nnU-Net's trainer, data included"
        bench.check(name, partial(nnunet, bench, leaves, speeds.setdefault(leaves, {})))
    for leaves in counts:  # last: the compiler takes the longest
        steps(leaves, compiled=True)


def step_of(bench: Bench, leaves: int, variant: str) -> Callable[[], None]:
    """Return a training step as a function: as the module does it, on one batch again and again."""
    fused, last, compiled = VARIANTS[variant]
    size = (64, 64, 64) if bench.dry else SIZE
    torch.manual_seed(0)
    network = network_of("unet3d_large", leaves, size, bench.dry).to(bench.device)
    losses = objective(leaves).to(bench.device)
    batch = 1 if bench.dry else BATCH
    image = torch.randn(batch, 1, *size, device=bench.device)
    codes = torch.randint(1, leaves + 2, (batch, *size), dtype=torch.uint8).to(bench.device)
    stream = torch.full((batch,), STREAMS.index("partial"), dtype=torch.uint8).to(bench.device)
    if last:
        put_channels_last(network)
    if compiled:
        need_gpu(bench)
        compile_network(network, compiled)
    settings = {"name": "adamw", "lr": 1e-4, "fused": fused}
    optimizer = make_optimizer(OptimizerSettings.model_validate(settings), network.parameters())

    def step() -> None:
        begin_step(compiled)
        with torch.autocast(bench.device.type, torch.bfloat16):
            heads = heads_of(network, network(image), image)
        prediction = Prediction(heads[0], "softmax", stream=stream)
        loss, _ = deep_objective(losses, heads, prediction, codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def rate(bench: Bench, leaves: int, variant: str, speeds: dict[str, float]) -> Found:
    """Samples a second, and how many times nnU-Net's where they are known."""
    few = {"repeats": 1, "warm": 0} if bench.dry else {"repeats": 10, "warm": 3}
    batch = 1 if bench.dry else BATCH
    found = batch / bench.seconds(step_of(bench, leaves, variant), **few)
    speeds[variant] = found
    return compared(bench, speeds, variant) or Found(found, "samples/s")


def busy(bench: Bench) -> Found:
    """Share of the time of some steps in which kernels ran."""
    need_gpu(bench)
    step = step_of(bench, LEAVES[0], "channels last, fused")
    alone = bench.seconds(step)
    kernels = bench.kernels(step)
    return Found(kernels / alone, "of the time", least=0.95, note=f"{kernels * 1e3:.1f} ms a step")


def synchronisations(bench: Bench) -> Found:
    """Calls in steps of a training after which the program waits until the device has done all.

    torch itself warns of them. Batch, augmentation, teacher, callbacks and optimizer are those of a
    training; the steps are those between two rows of its curves.
    """
    import warnings

    def ask(mode: str) -> None:
        if bench.device.type == "cuda":
            torch.cuda.set_sync_debug_mode(mode)

    def watched(step: Callable[..., Any], number: int, *args: Any) -> Any:
        if number in (2, 6):
            ask("warn" if number == 2 else "default")
            looked.append(number)
        return step(*args)

    looked: list[int] = []
    options = ("augment=strong", "trainer.max_epochs=1", "patches.steps_per_epoch=8")
    options += ("trainer.log_every_n_steps=100", "trainer.precision=bf16-mixed")
    fresh(bench, "waits")
    try:
        with changed_step(watched), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train_run(bench, "waits", "partial_mean_teacher", *SHORT, *options)
    finally:
        ask("default")
    assert looked == [2, 6]
    told = [w for w in caught if "synchroniz" in str(w.message)]
    places = sorted({f"{Path(w.filename).name}:{w.lineno}" for w in told})
    if bench.device.type != "cuda":
        raise NotHereError("needs a GPU; the steps were done")
    return Found(len(told), "calls in 4 steps", most=0, note=" ".join(places))


def memory(bench: Bench) -> Found:
    """Memory of network, optimizer and step."""
    need_gpu(bench)

    def whole() -> None:
        step = step_of(bench, LEAVES[1], "channels last, fused")
        step()
        step()

    return Found(bench.peak(whole) / 2**30, "GiB")


def waiting(bench: Bench) -> Found:
    """Share of the time that a whole training waited for patches, augmentation included."""
    full = (
        *("network=unet3d_large", "patches=gpu", "augment=strong", "trainer.precision=bf16-mixed"),
        *("cohort.phantom.subjects=6", "cohort.phantom.spacing=1.0", "patches.steps_per_epoch=60"),
        *("trainer.max_epochs=1", "logger=csv", "score=false", "pictures=0", "plan=none"),
        "trainer.enable_progress_bar=false",
    )
    options = (*SHORT, "augment=strong") if bench.dry else full
    found = mean_times(train_run(bench, "waiting", "partial_iuc", *options) / METRICS)
    share, seconds = found["data_wait_share"], found["step_seconds"]
    assert share is not None
    assert seconds is not None
    note = f"{seconds:.3f} s a step, {os.cpu_count()} cores"
    return Found(share, "of the time", most=bench.limit(WAITING), note=note)


def compared(bench: Bench, speeds: dict[str, float], variant: str) -> Found | None:
    """Return a variant's speed beside nnU-Net's; None where that is not known."""
    if NNUNET not in speeds or variant not in speeds:
        return None
    ours, theirs = speeds[variant], speeds[NNUNET]
    note = f"{variant} {ours:.3g}, nnU-Net {theirs:.3g} samples/s; ours without data, see waiting"
    return Found(ours / theirs, "times nnU-Net's", least=bench.limit(TIMES_NNUNET), note=note)


def nnunet(bench: Bench, leaves: int, speeds: dict[str, float]) -> Found:
    """Samples a second of nnU-Net's own trainer, its data included; and how much faster we are."""
    if _version("nnunetv2") is None:
        raise NotHereError("nnunetv2 is not installed")
    folder = bench.scratch / f"nnunet-{leaves}"
    size, steps = (64, 2) if bench.dry else (SIZE[0], 40)
    script = Path(__file__).with_name("nnunet_step.py")
    command = [sys.executable, script, folder, leaves, size, steps, bench.device.type]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found = json.loads(done.stdout.strip().splitlines()[-1])["samples_per_second"]
    fastest = max(speeds, key=lambda name: speeds[name], default="")
    speeds[NNUNET] = found
    note = "run the steps in the same call for the ratio"
    return compared(bench, speeds, fastest) or Found(found, "samples/s", note=note)
