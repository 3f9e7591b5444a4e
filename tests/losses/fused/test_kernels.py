"""The compiled passes against those in PyTorch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import every_variant, make_case

from neoseg.c_code import load
from neoseg.losses.build import make_term
from neoseg.losses.fused import SumTerm, kernels
from neoseg.losses.registry import find_term

VARIANTS = [
    variant
    for variant in every_variant()
    if issubclass(find_term(variant[0]), SumTerm) and variant[0] != "exclusion"
]


@pytest.fixture(autouse=True)
def compiled():
    if kernels._kernels() is None:
        pytest.skip("no C compiler on this machine")


def value_and_gradient(term, case):
    logits = case.logits.detach().clone().requires_grad_()
    loss = term(replace(case.prediction, logits=logits), case.codes)
    loss.backward()
    return loss.detach(), logits.grad


def in_pytorch(monkeypatch, term, case):
    with monkeypatch.context() as patch:
        patch.setattr("neoseg.losses.fused.passes.usable", lambda *_: False)
        return value_and_gradient(term, case)


def large(space, head, scale=2.0, voxels=(3, 70_001)):
    """More voxels than one range, blocks and tiles not full."""
    case = make_case(space, head, dtype=torch.float32)
    rng = torch.Generator().manual_seed(3)
    batch, number = voxels
    codes = torch.randint(0, case.codebook.size, (batch, number), generator=rng, dtype=torch.uint8)
    logits = scale * torch.randn(batch, case.logits.shape[1], number, generator=rng)
    stream = torch.zeros(batch, dtype=torch.uint8)
    return replace(case, logits=logits, teacher=logits, codes=codes, stream=stream)


@pytest.mark.parametrize("scale", [2.0, 60.0])
@pytest.mark.parametrize(("name", "head", "settings"), VARIANTS)
def test_equals_the_passes_in_pytorch(monkeypatch, name, head, settings, scale):
    case = large("overlapping", head, scale, (2, 5_003))
    term = make_term(name, case.codebook, head, settings)
    loss, gradient = value_and_gradient(term, case)
    expected, slope = in_pytorch(monkeypatch, term, case)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient, slope, rtol=1e-3, atol=1e-5 * slope.abs().max().item())


@pytest.mark.parametrize(("name", "head"), [("dice_ce", "softmax"), ("class_masked", "multilabel")])
def test_threads_change_nothing(name, head):
    case = large("overlapping", head)
    term = make_term(name, case.codebook, head, {})
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(value_and_gradient(term, case))
    finally:
        torch.set_num_threads(before)
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize(
    ("name", "head"),
    [("marginal_ce", "softmax"), ("leaf_dice", "softmax"), ("iuc", "multilabel")],
)
def test_nan_is_not_swallowed(name, head):
    case = large("overlapping", head, voxels=(1, 300))
    case.codes.fill_(1)
    case.logits[0, 2, 123] = torch.nan
    loss, _ = value_and_gradient(make_term(name, case.codebook, head, {}), case)
    assert loss.isnan()


def test_logits_that_are_not_contiguous():
    case = large("overlapping", "softmax", voxels=(2, 600))
    term = make_term("dice_ce", case.codebook, "softmax", {})
    expected, slope = value_and_gradient(term, case)
    logits = case.logits.transpose(1, 2).contiguous().requires_grad_()
    prediction = replace(case.prediction, logits=logits.transpose(1, 2))
    loss = term(prediction, case.codes)
    loss.backward()
    assert torch.equal(loss.detach(), expected)
    assert torch.equal(logits.grad.transpose(1, 2), slope)


def test_without_a_compiler_pytorch_computes(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    load.cache_clear()
    try:
        case = make_case("overlapping", "softmax", dtype=torch.float32)
        term = make_term("dice_ce", case.codebook, "softmax", {})
        loss, _ = value_and_gradient(term, case)
        assert torch.isfinite(loss)
        assert kernels._kernels() is None
    finally:
        load.cache_clear()
