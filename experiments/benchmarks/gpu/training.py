"""Whole trainings on the device: precisions, broken losses, memory, resuming, compiling, ranks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from experiments.benchmarks.gpu.bench import Bench, Found, NotHereError, need_gpu
from experiments.benchmarks.gpu.material import SHORT, train_run
from neoseg.findings.faults import fault_message
from neoseg.inference.checkpoint import predicting_checkpoint, read_checkpoint
from neoseg.tracking import METRICS
from neoseg.tracking.curves import CurveLogger
from neoseg.training.module import SegmentationModule

EXPERIMENT = "partial_mean_teacher"


def run(bench: Bench) -> None:
    """Train tiny runs, one for each thing that is different on a GPU."""
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        bench.check(f"train, {precision}", partial(trained, bench, precision))
    for precision in ("bf16-mixed", "16-mixed"):
        bench.check(f"a NaN is left out, {precision}", partial(broken, bench, precision))
    bench.check("resumed as if never stopped", partial(resumed, bench))
    bench.check("out of memory is told", partial(too_large, bench))
    bench.check("losses of two ranks, gloo", partial(ranks, bench, "gloo"))
    bench.check("losses of two ranks, NCCL", partial(ranks, bench, "nccl"))
    fast = ("channels_last=true", "optimizer.fused=true")
    bench.check("channels last and fused optimizer", partial(like_usual, bench, "fast", fast))
    for name, how in (("compiled", "true"), ("compiled, CUDA graphs", "reduce-overhead")):
        bench.check(name, partial(like_usual, bench, name, (f"compile={how}",)))


def losses_of(bench: Bench, name: str, *more: str) -> list[float]:
    """Train a tiny run and return its loss of each step."""
    folder = train_run(bench, name, EXPERIMENT, *SHORT, *more)
    return [row["train/loss"] for row in CurveLogger(folder / METRICS).rows if "train/loss" in row]


def fresh(bench: Bench, name: str) -> None:
    """Forget a run of an earlier call."""
    shutil.rmtree(bench.scratch / "runs" / f"{bench.device.type}-{name}", ignore_errors=True)


def trained(bench: Bench, precision: str) -> Found:
    """The last loss of a training relative to its first."""
    _require(bench, precision)
    fresh(bench, precision)
    found = losses_of(bench, precision, f"trainer.precision={precision}")
    return Found(found[-1] / found[0], "of the first loss", most=1.2, note=f"{len(found)} steps")


def broken(bench: Bench, precision: str) -> Found:
    """Steps that are left out where one loss of a training is not a number."""
    _require(bench, precision)
    name = f"nan-{precision}"
    fresh(bench, name)

    def spoiled(step: Callable[..., Any], number: int, *args: Any) -> Any:
        loss = step(*args)
        return loss * float("nan") if number == 2 else loss

    with changed_step(spoiled):
        options = ("on_nan=skip", f"trainer.precision={precision}")
        folder = train_run(bench, name, EXPERIMENT, *SHORT, *options)
    content = read_checkpoint(predicting_checkpoint(folder))
    weights = [v for v in content["state_dict"].values() if v.is_floating_point()]
    if not all(torch.isfinite(value).all() for value in weights):
        raise RuntimeError("the weights are not numbers")
    return Found(len(list((folder / "nan").glob("*.npz"))), "steps left out", least=1, most=1)


def resumed(bench: Bench) -> Found:
    """Largest difference of weights between a training and one that died and went on."""
    names = ("whole", "stopped")
    for name in names:
        fresh(bench, name)

    def dies(step: Callable[..., Any], number: int, *args: Any) -> Any:
        if number == 5:
            raise KeyError("the process dies")
        return step(*args)

    options = ("checkpoint.every_steps=2", "trainer.deterministic=true")
    whole = train_run(bench, "whole", EXPERIMENT, *SHORT, *options)
    try:
        with changed_step(dies):
            train_run(bench, "stopped", EXPERIMENT, *SHORT, *options)
    except KeyError:
        pass
    else:
        raise RuntimeError("the training did not die")
    stopped = train_run(bench, "stopped", EXPERIMENT, *SHORT, *options)
    one, two = (read_checkpoint(predicting_checkpoint(f))["state_dict"] for f in (whole, stopped))
    gaps = [(one[key].double() - two[key].double()).abs().max().item() for key in one]
    return Found(max(gaps), "largest difference", most=0.0)


def too_large(bench: Bench) -> Found:
    """Whether what a device says that is full is told as something to act on."""
    need_gpu(bench)
    total = torch.cuda.get_device_properties(bench.device).total_memory
    try:
        torch.empty(2 * total, dtype=torch.uint8, device=bench.device)
    except torch.OutOfMemoryError as error:
        told = fault_message(error) or ""
    return Found(float("too little memory" in told), "told", least=1.0, note=told[:120])


def like_usual(bench: Bench, name: str, options: tuple[str, ...]) -> Found:
    """Largest difference of losses between a training with options and the usual one."""
    if name.startswith("compiled"):
        need_gpu(bench)
    fresh(bench, name)
    usual = losses_of(bench, "32-true", "trainer.precision=32-true")
    found = losses_of(bench, name, *options)
    gaps = [abs(a - b) / abs(b) for a, b in zip(found, usual, strict=True)]
    return Found(max(gaps), "of the loss", most=0.05)


def ranks(bench: Bench, backend: str) -> Found:
    """Losses of two processes with half a batch each beside those of one, as in the tests."""
    import tempfile

    import torch.multiprocessing as mp

    if backend == "nccl" and torch.cuda.device_count() < 2:
        raise NotHereError(f"needs two GPUs, there are {torch.cuda.device_count()}")
    terms = ("marginal_ce", "leaf_dice")
    with tempfile.TemporaryDirectory() as folder:
        kind = bench.device.type
        mp.spawn(_rank, (f"file://{folder}/store", backend, kind, terms, folder), nprocs=2)
        parts = [torch.load(os.path.join(folder, f"{n}.pt"), weights_only=True) for n in range(2)]
    gap = 0.0
    for number, term in enumerate(terms):
        value, gradient = _loss(term, slice(0, 4), bench.device)
        means = torch.cat([part[number][1] for part in parts]) / 2
        gap = max(gap, (means - gradient).abs().max().item() / gradient.abs().max().item())
        mean = sum(part[number][0] for part in parts) / 2
        gap = max(gap, abs(mean - value) / abs(value))
    return Found(gap, "relative error", most=1e-4)


def _rank(rank: int, store: str, backend: str, kind: str, terms: tuple[str, ...], out: str) -> None:
    import torch.distributed as dist

    place = f"cuda:{rank % torch.cuda.device_count()}" if kind == "cuda" else kind
    torch.set_num_threads(1)
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=2)
    half = slice(2 * rank, 2 * rank + 2)
    found = [_loss(term, half, torch.device(place)) for term in terms]
    torch.save(found, os.path.join(out, f"{rank}.pt"))
    dist.destroy_process_group()


def _loss(term: str, items: slice, device: torch.device) -> tuple[float, torch.Tensor]:
    import cases

    from neoseg.losses import Objective

    case = cases.make_case("overlapping", "softmax", seed=9)
    pick = torch.tensor([0, 1, 2, 0])[items]
    logits = case.logits[pick].float().to(device).requires_grad_()
    loss = Objective({term: {}}, case.codebook, "softmax").to(device)(
        logits, case.codes[pick].to(device), stream=case.stream[pick].to(device)
    )
    loss.backward()
    assert logits.grad is not None
    return loss.item(), logits.grad.cpu()


def _require(bench: Bench, precision: str) -> None:
    if precision == "16-mixed":
        need_gpu(bench)  # GradScaler is of a GPU


@contextmanager
def changed_step(change: Callable[..., Any]) -> Iterator[None]:
    """Put a function around each training step, which is told how many were before."""
    usual, count = SegmentationModule.training_step, iter(range(10**9))

    def step(*args: Any) -> Any:
        return change(usual, next(count), *args)

    SegmentationModule.training_step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        SegmentationModule.training_step = usual  # type: ignore[method-assign]
