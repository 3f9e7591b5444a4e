"""Slab functions under torch.compile, as they run on an accelerator, on this machine's CPU."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from cases import make_case

from neoseg.losses.build import make_term
from neoseg.losses.fused import compiled as module
from neoseg.losses.fused import passes


@pytest.fixture
def accelerated(monkeypatch):
    """Take the CPU for a device on which functions are compiled."""
    monkeypatch.setattr(module, "_broken", set())
    monkeypatch.setattr(module, "compiles_on", lambda kind: True)
    monkeypatch.setattr(passes, "usable", lambda *_: False)


def value_and_gradient(term, case):
    logits = case.logits.clone().requires_grad_()
    loss = term(replace(case.prediction, logits=logits), case.codes)
    loss.backward()
    return loss.item(), logits.grad


@pytest.mark.slow
@pytest.mark.usefixtures("accelerated")
@pytest.mark.parametrize(
    ("name", "head"),
    [("dice_ce", "softmax"), ("marginal_dice", "softmax"), ("class_masked", "multilabel")],
)
def test_compiled_equals_uncompiled(monkeypatch, name, head):
    case = make_case("overlapping", head)
    term = make_term(name, case.codebook, head, {})
    loss, gradient = value_and_gradient(term, case)
    if module._broken:
        pytest.skip("torch.compile finds no C++ compiler on this machine")
    monkeypatch.setattr(module, "compiles_on", lambda kind: False)
    expected, slope = value_and_gradient(term, case)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(gradient, slope, rtol=1e-9, atol=1e-15)


@pytest.mark.usefixtures("accelerated")
def test_a_compiler_that_fails_is_reported_once(monkeypatch, caplog):
    def fails(function, **_):
        def call(*_args):
            raise RuntimeError("no Triton here\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", fails)
    double = module.compiled(lambda x: 2 * x)
    with caplog.at_level(logging.WARNING):
        assert [double(torch.tensor(value)).item() for value in (1, 2)] == [2, 4]
    assert len(caplog.records) == 1
    assert "torch.compile failed on cpu (RuntimeError: no Triton here)" in caplog.text
