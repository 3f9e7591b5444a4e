"""No loss term asks an accelerator for a value, or copies something to it, in a step."""

from __future__ import annotations

import cases
import pytest
import torch
from waiting import on_an_accelerator

from neoseg.losses import Objective
from neoseg.losses.fused.sums import count_codes

OTHERS = ("teacher", "peer", "teacher_mean", "stream")


@pytest.mark.parametrize(("name", "head", "settings"), cases.every_variant())
def test_a_term_lets_nobody_wait(name: str, head: str, settings: dict) -> None:
    case = cases.make_case("overlapping", head, dtype=torch.float32)
    objective = Objective({name: settings}, case.codebook, head).to("meta")
    logits, codes = case.logits.to("meta").requires_grad_(), case.codes.to("meta")
    others = {key: getattr(case, key).to("meta") for key in OTHERS}
    with on_an_accelerator():
        objective(logits, codes, progress=0.5, **others).backward()
    assert logits.grad is not None


def test_codes_are_counted_there_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.make_case("overlapping")
    usual = count_codes(case.codes, case.codebook.size)
    assert usual.sum() == case.codes.numel()
    monkeypatch.setattr("neoseg.losses.fused.sums.counts_itself", lambda _: False)
    monkeypatch.setattr("neoseg.losses.fused.slabs._SLAB_VALUES", {"cpu": 1})
    codes = case.codes.repeat(1, 5, 6, 7)
    for seen in (case.codes, codes):
        factor = seen.numel() / case.codes.numel()
        assert torch.equal(count_codes(seen, case.codebook.size), usual * factor)
