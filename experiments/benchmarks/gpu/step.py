"""A training step of `unet3d_large` in bfloat16, alone and with its data, beside nnU-Net's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from experiments.benchmarks.gpu.bench import ROOT, Bench, Found, NotHereError, _version, need_gpu
from experiments.benchmarks.gpu.material import SHORT, network_of, train_run
from experiments.benchmarks.step.run import objective
from neoseg.labels import STREAMS
from neoseg.losses import Prediction
from neoseg.training.curves import METRICS, mean_times
from neoseg.training.module import put_channels_last
from neoseg.training.optimisation import OptimizerSettings, make_optimizer
from neoseg.training.supervision import deep_objective, heads_of

BATCH, SIZE, LEAVES = 2, (128, 128, 128), (14, 88)
WAITING = 0.02
TIMES_NNUNET = 2.0
VARIANTS = {
    "usual": (False, False, False),
    "fused optimizer": (True, False, False),
    "channels last, fused": (True, True, False),
    "compiled, fused": (True, False, True),
    "compiled, channels last, fused": (True, True, True),
}
"""Fused optimizer, channels last, compiled."""


def run(bench: Bench) -> None:
    """Measure steps, what keeps the device waiting in them, and whole trainings."""
    fastest: dict[int, float] = {}
    counts = (3,) if bench.dry else LEAVES
    for leaves in counts:
        for name in VARIANTS:
            timed = partial(rate, bench, leaves, name, fastest)
            bench.check(f"{leaves} leaves: step, {name}", timed)
    bench.check("busy share of the device in a step", partial(busy, bench))
    bench.check("synchronisations of a step", partial(synchronisations, bench))
    bench.check("memory of a step", partial(memory, bench))
    bench.check("waiting for data in a training", partial(waiting, bench))
    for leaves in counts:
        name = f"{leaves} leaves: nnU-Net's trainer, data included"
        bench.check(name, partial(nnunet, bench, leaves, fastest))


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
        network.compile()
    settings = {"name": "adamw", "lr": 1e-4, "fused": fused}
    optimizer = make_optimizer(OptimizerSettings.model_validate(settings), network.parameters())

    def step() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            heads = heads_of(network(image))
        prediction = Prediction(heads[0], "softmax", stream=stream)
        loss, _ = deep_objective(losses, heads, prediction, codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def rate(bench: Bench, leaves: int, variant: str, fastest: dict[int, float]) -> Found:
    """Samples a second."""
    few = {"repeats": 1, "warm": 0} if bench.dry else {"repeats": 10, "warm": 3}
    batch = 1 if bench.dry else BATCH
    found = batch / bench.seconds(step_of(bench, leaves, variant), **few)
    fastest[leaves] = max(fastest.get(leaves, 0.0), found)
    return Found(found, "samples/s")


def busy(bench: Bench) -> Found:
    """Share of the time of some steps in which kernels ran."""
    need_gpu(bench)
    step = step_of(bench, LEAVES[0], "channels last, fused")
    alone = bench.seconds(step)
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(5):
            step()
        bench.wait()
    kernels = sum(event.self_device_time_total for event in profile.key_averages()) / 5e6
    return Found(kernels / alone, "of the time", least=0.95, note=f"{kernels * 1e3:.1f} ms a step")


def synchronisations(bench: Bench) -> Found:
    """Calls of a step after which the program waits for the device, as torch itself warns."""
    import warnings

    need_gpu(bench)
    step = step_of(bench, LEAVES[0], "fused optimizer")
    step()
    bench.wait()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    told = [w for w in caught if "synchroniz" in str(w.message)]
    places = sorted({f"{Path(w.filename).name}:{w.lineno}" for w in told})
    return Found(len(told), "calls", most=0, note=" ".join(places))


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


def nnunet(bench: Bench, leaves: int, fastest: dict[int, float]) -> Found:
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
    if leaves not in fastest:
        return Found(found, "samples/s", note="run the steps in the same call for the ratio")
    return Found(
        fastest[leaves] / found,
        "times nnU-Net's",
        least=bench.limit(TIMES_NNUNET),
        note=f"nnU-Net {found:.2f} samples/s; ours without data, see the waiting",
    )
