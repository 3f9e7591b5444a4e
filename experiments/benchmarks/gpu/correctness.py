"""Values and gradients on the device beside those in float64 on the CPU."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.gpu.bench import Bench, Found, need_gpu, use_tests
from experiments.benchmarks.gpu.material import network_of, train_batch

use_tests()
import cases  # noqa: E402

from neoseg.losses.build import make_term  # noqa: E402
from neoseg.training.speed import put_channels_last  # noqa: E402

VALUE = 1e-5
"""Largest relative error of a loss, whose arithmetic is float32 whatever the logits are."""

GRADIENT = {"float32": 1e-4, "bfloat16": 2**-8 + 1e-4, "float16": 2**-11 + 1e-4}
"""Largest error of a gradient relative to its largest value: it has the type of the logits."""

BLOCK = (3, 24, 20, 28)
"""A batch of some slabs' size; the tests' own shapes are a few voxels."""


def run(bench: Bench) -> None:
    """Check every term with all settings of the tests, augmentation and memory formats."""
    cases.SHAPES["block"] = (3, 4, 3, 5) if bench.dry else BLOCK
    variants: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, head, settings in cases.every_variant():
        variants.setdefault((name, head), []).append(settings)
    for (name, head), several in variants.items():
        for precision in GRADIENT:
            bench.check(
                f"{name} {head} {precision}", partial(worst, bench, name, several, head, precision)
            )
    bench.check("augmentation as on the CPU", lambda: augmentation(bench))
    for name in ("unet3d",) if bench.dry else ("unet3d", "unet3d_large"):
        bench.check(f"{name} channels last", partial(channels_last, bench, name))
    bench.check("compiled losses on this device", lambda: compiles(bench))


def worst(
    bench: Bench, name: str, several: list[dict[str, Any]], head: str, precision: str
) -> Found:
    """Return the largest share of what is allowed over several settings of a term."""
    most, note = 0.0, ""
    for settings in several[:1] if bench.dry else several:
        value, gradient = errors_of(bench, name, head, settings, getattr(torch, precision))
        share = max(value / VALUE, gradient / GRADIENT[precision])
        if not share <= most:  # not a number is the worst
            most, note = share, f"loss {value:.1e} gradient {gradient:.1e} {settings or ''}"
    return Found(most, "of the allowed error", most=1.0, note=note)


def errors_of(
    bench: Bench, name: str, head: str, settings: dict[str, Any], dtype: torch.dtype
) -> tuple[float, float]:
    """Return the relative errors of loss and gradient of one term on the device."""
    case = cases.make_case("overlapping", head, "block", seed=3)
    rounded = case.logits.to(dtype)
    parts = ("teacher", "peer", "teacher_mean")
    others = {key: getattr(case, key).to(dtype) for key in parts}

    def of(device: torch.device, kind: torch.dtype) -> tuple[float, Tensor]:
        term = make_term(name, case.codebook, head, settings).to(device)
        logits = rounded.to(device, kind).requires_grad_()
        there = {key: value.to(device, kind) for key, value in others.items()}
        prediction = replace(case.prediction, logits=logits, stream=case.stream.to(device), **there)
        loss = term(prediction, case.codes.to(device))
        loss.backward()
        assert logits.grad is not None
        return loss.item(), logits.grad.double().cpu()

    value, gradient = of(torch.device("cpu"), torch.float64)
    found, slope = of(bench.device, dtype)
    largest = max(gradient.abs().max().item(), 1e-12)
    error = (slope - gradient).abs().max().item() / largest
    return abs(found - value) / max(abs(value), 1e-3), error


def augmentation(bench: Bench) -> Found:
    """Compare images whose intensities were changed on the device with those of the CPU."""
    batch = train_batch(bench)
    here = batch.with_intensities()
    there = batch.to(bench.device).with_intensities()
    assert batch.appearances is not None  # left to the accelerator
    error = (there.image.cpu() - here.image).abs().max().item()
    return Found(error, "intensity", most=1e-3, note=f"deviation {here.image.std():.2f}")


def channels_last(bench: Bench, name: str) -> Found:
    """Compare a network's output and gradients with channels last and in the usual order."""
    size = (32, 32, 32) if bench.dry else (64, 64, 64)
    torch.manual_seed(0)
    usual = network_of(name, 5, size, bench.dry).to(bench.device)
    last = copy.deepcopy(usual)
    put_channels_last(last)
    image = torch.randn(1, 1, *size, device=bench.device)
    found = []
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        for network in (usual, last):
            output = network(image)
            output = output[0] if isinstance(output, list | tuple) else output
            output.square().mean().backward()
            weight = next(network.parameters()).grad
            assert weight is not None
            found.append((output.detach(), weight))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    (a, g), (b, h) = found
    output = ((a - b).abs().max() / a.abs().max()).item()
    gradient = ((g - h).abs().max() / g.abs().max()).item()
    return Found(max(output, gradient), "relative error", most=1e-3)


def compiles(bench: Bench) -> Found:
    """Tell whether the kernels of the losses were compiled, or fell back to plain torch."""
    from neoseg.losses.fused import compiled

    need_gpu(bench)
    broken = bench.device.type in compiled._broken
    return Found(float(not broken), "yes", least=1.0)
