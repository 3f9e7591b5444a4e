"""A training step asks no tensor for its value: on an accelerator it would wait for the answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_module import make_module
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from neoseg.patches.batch import Batch
from neoseg.training.module import put_channels_last
from neoseg.training.optimisation import OptimizerSettings, make_optimizer
from neoseg.training.teacher import Teacher


class Asked(TorchDispatchMode):
    """Counts the values that Python is told."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.times += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_the_count_sees_what_is_asked() -> None:
    with Asked() as asked:
        bool(torch.ones(1).sum() > 0)
    assert asked.times == 1


def test_a_teacher_that_has_begun_asks_nothing() -> None:
    student = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    teacher = Teacher(student, 0.9)
    teacher.update(student)
    with Asked() as asked:
        teacher.update(student)
    assert asked.times == 0
    # A checkpoint brings a count of its own.
    other = Teacher(student, 0.9)
    for _ in range(5):
        other.update(student)
    teacher.load_state_dict(other.state_dict())
    with torch.no_grad():
        student[0].weight.add_(1.0)
    for one in (teacher, other):
        one.update(student)
    for a, b in zip(teacher.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("loss", ["iuc", "mean_teacher"])
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_the_forward_and_backward_pass_ask_nothing(loss: str) -> None:
    module = make_module(loss={"iuc": {}, loss: {}}).train()
    shape = (2, 8, 8, 8)
    image = torch.randn(2, 1, 8, 8, 8)
    codes = torch.randint(0, 3, shape, dtype=torch.uint8)
    batch = Batch(
        image, codes, torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([0, 1]), image
    )
    module.training_step(batch, 0).backward()
    with Asked() as asked:
        module.training_step(batch, 1).backward()
    assert asked.times == 0


def test_seeds_stay_where_they_can_be_asked() -> None:
    kept = torch.tensor([3, 4])
    whole = torch.zeros(2, 1, 2, 2, 2)
    batch = Batch(whole, whole[:, 0].byte(), kept.byte(), kept, whole, kept)
    moved = batch.to("meta")
    assert moved.image.device.type == "meta"
    assert moved.noise_seed is kept


def test_channels_last_changes_where_weights_lie_alone() -> None:
    module, usual = make_module(channels_last=True), make_module()
    usual.load_state_dict(module.state_dict())
    weight = next(w for w in module.network.parameters() if w.dim() == 5 and w.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    image = torch.randn(1, 1, 8, 8, 8)
    gaps = (module.network(image) - usual.network(image)).abs()
    assert gaps.max() < 1e-4
    flat = nn.Conv2d(2, 2, 3)
    put_channels_last(flat)
    assert flat.weight.is_contiguous(memory_format=torch.channels_last)


def test_fused_is_of_an_accelerator() -> None:
    settings = OptimizerSettings.model_validate({"name": "adamw", "lr": 0.1, "fused": True})
    optimizer = make_optimizer(settings, [nn.Parameter(torch.zeros(1))])
    assert not optimizer.param_groups[0]["fused"]
