"""Batches on their way from a loader process."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch import Tensor

from neoseg.augment.appearance import ChannelAppearance
from neoseg.patches import batch as module
from neoseg.patches.batch import ALIGNMENT, Batch, collate

BATCH = Batch(
    image=torch.randn(3, 2, 5, 7, 4).transpose(2, 4),
    codes=torch.randint(0, 9, (3, 4, 7, 5), dtype=torch.uint8),
    stream=torch.tensor([0, 2, 1], dtype=torch.uint8),
    scan=torch.tensor([5, 1, 7]),
    present=torch.tensor([[True, False], [True, True], [False, True]]),
    appearances=((ChannelAppearance(0.5, 2.0, None, None),),) * 3,
)


def tensors(batch: Batch) -> dict[str, Tensor]:
    values = {f.name: getattr(batch, f.name) for f in fields(Batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@pytest.fixture(autouse=True)
def in_a_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "get_worker_info", lambda: object())


def sent(*items: Batch) -> Batch:
    found = pickle.loads(ForkingPickler.dumps(collate(items)))
    assert isinstance(found, Batch)
    return found


def test_a_batch_arrives_as_it_was_in_one_block() -> None:
    found = sent(BATCH)
    before, after = tensors(BATCH), tensors(found)
    assert list(before) == list(after) == ["image", "codes", "stream", "scan", "present"]
    for name in before:
        assert torch.equal(before[name], after[name])
        assert before[name].dtype == after[name].dtype
        assert after[name].is_contiguous()
        assert after[name].data_ptr() % ALIGNMENT == 0
    assert found.appearances == BATCH.appearances
    assert found.teacher_image is found.teacher_appearances is found.noise_seed is None
    assert len({value.untyped_storage().data_ptr() for value in after.values()}) == 1
    assert all(value.is_shared() for value in after.values())


def test_tensors_do_not_overlap() -> None:
    found = tensors(sent(BATCH))
    for name, value in found.items():
        others = {n: v.clone() for n, v in found.items() if n != name}
        value.zero_()
        assert all(torch.equal(found[n], other) for n, other in others.items())


def test_an_empty_batch_arrives() -> None:
    nothing = torch.zeros(0, dtype=torch.uint8)
    found = sent(Batch(torch.zeros(0, 1, 2, 2, 2), nothing, nothing, nothing))
    assert found.image.shape == (0, 1, 2, 2, 2)


def test_items_arrive_as_they_are_joined_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(BATCH, image=BATCH.image + 1, scan=BATCH.scan + 8)
    there = sent(BATCH, other)
    monkeypatch.setattr(module, "get_worker_info", lambda: None)
    here = collate([BATCH, other])
    assert isinstance(here, Batch)
    assert len(here) == len(there) == 6
    for name, value in tensors(here).items():
        assert torch.equal(value, tensors(there)[name])
    assert here.appearances == there.appearances == BATCH.appearances * 2  # type: ignore[operator]
