"""A training step waits for nothing that an accelerator would have to tell or to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from small_module import make_module
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from waiting import on_an_accelerator

from neoseg.accelerator import Answer, sent_beside
from neoseg.patches.batch import Batch
from neoseg.training.nonfinite import NonFiniteLoss
from neoseg.training.optimisation import OptimizerSettings, make_optimizer
from neoseg.training.speed import put_channels_last
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


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: bool(x.any()),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x.unique(),
        lambda x: torch.tensor(1.0, device=x.device),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.ones(2).to(x.device),
        lambda x: x.copy_(torch.ones(2)),
    ],
)
def test_each_wait_is_found(wait: Callable[[torch.Tensor], Any]) -> None:
    with (
        on_an_accelerator() as device,
        pytest.raises((RuntimeError, NotImplementedError, AssertionError)),
    ):
        wait(torch.empty(2, device=device))


@pytest.mark.parametrize("loss", ["iuc", "mean_teacher", "uncertainty_teacher", "cross_pseudo"])
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_nothing_waits_in_a_step(loss: str, tmp_path: Path) -> None:
    module = make_module(loss={"iuc": {}, loss: {}}, head="multilabel").train().to("meta")
    image = torch.randn(2, 1, 8, 8, 8)
    codes = torch.randint(0, 3, (2, 8, 8, 8), dtype=torch.uint8)
    first = torch.tensor([0, 1])
    parts = {"teacher_image": image, "noise_seed": first, "present": torch.ones(2, 1).bool()}
    batch = Batch(image, codes, first.byte(), first, **parts).to("meta")
    settings = OptimizerSettings.model_validate({"name": "adamw", "lr": 0.1})
    optimizer = make_optimizer(settings, module.network.parameters())
    watch, trainer = NonFiniteLoss(tmp_path, "stop", 10, 0, 0), Any
    if module.teacher is not None:
        module.teacher._updates = 1  # the first one asks how many there were
    with on_an_accelerator():
        watch.on_train_batch_start(trainer, module, batch)
        total = module.training_step(batch, 0)
        watch.on_before_backward(trainer, module, total)
        total.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
        optimizer.step()
        if module.teacher is not None:
            module.teacher.update(module.network)


def test_a_batch_is_copied_beside_the_work_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of calls, on stand-ins: the work waits for the copy, and memory for the work."""
    done: list[Any] = []

    class Stream:
        def __init__(self, device: Any = None) -> None:
            self.name = "copies"

        def wait_stream(self, other: Stream) -> None:
            done.append(f"{self.name} waits for {other.name}")

    class Tensor:
        def to(self, device: torch.device, non_blocking: bool) -> Tensor:
            done.append(f"to {device} {non_blocking}")
            return self

        def record_stream(self, stream: Stream) -> None:
            done.append(f"kept for {stream.name}")

    @contextmanager
    def within(stream: Stream) -> Iterator[None]:
        done.append(f"in {stream.name}")
        yield
        done.append(f"out of {stream.name}")

    work = Stream()
    work.name = "work"
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: work)
    monkeypatch.setattr(torch.cuda, "stream", within)
    sent_beside(Tensor(), torch.device("cuda", 7))  # type: ignore[arg-type]
    copied = ["in copies", "to cuda:7 True", "out of copies"]
    assert done == [*copied, "work waits for copies", "kept for work"]


def test_an_answer_waits_for_its_own_copy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def record(self) -> None:
            done.append("record")

        def synchronize(self) -> None:
            done.append("wait")

    class There:
        device = torch.device("cuda")

        def to(self, device: str, non_blocking: bool) -> torch.Tensor:
            done.append(f"to {device} {non_blocking}")
            return torch.ones(1)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    answer = Answer(There())  # type: ignore[arg-type]
    assert done == ["to cpu True", "record"]
    assert answer.get().item() == 1
    assert done[2:] == ["wait"]
    assert Answer(torch.zeros(1)).get().item() == 0


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


def test_the_mode_of_the_compiler_reaches_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: modes.append(mode))
    for how in (False, True, "reduce-overhead"):
        make_module(compile=how, loss={"mean_teacher": {}, "iuc": {}})
    assert modes == [None, None, "reduce-overhead", "reduce-overhead"]


def test_fused_is_of_an_accelerator() -> None:
    settings = OptimizerSettings.model_validate({"name": "adamw", "lr": 0.1, "fused": True})
    optimizer = make_optimizer(settings, [nn.Parameter(torch.zeros(1))])
    assert not optimizer.param_groups[0]["fused"]
