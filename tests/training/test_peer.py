"""A second network that learns beside the first."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent))

from small_module import DEEP, make_module
from test_module import CONSISTENT, CROSSED, logged, make_batch

from neoseg.losses import Prediction
from neoseg.patches.volumes import VolumeSample
from neoseg.training.module import MONITOR, SegmentationModule


def crossed(**changes: Any) -> SegmentationModule:
    torch.manual_seed(0)
    return make_module(loss=CROSSED, **changes)


def test_it_has_other_weights_and_leaves_the_student_as_it_is() -> None:
    module = crossed()
    torch.manual_seed(0)
    alone = make_module()
    assert alone.peer is None
    for a, b in zip(module.network.parameters(), alone.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert module.peer is not None
    pairs = zip(module.network.parameters(), module.peer.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_each_learns_by_the_whole_objective_with_the_other_as_its_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, batch = crossed(), make_batch()
    found = logged(module, monkeypatch)
    assert module.peer is not None
    logits = module.network(batch.image), module.peer(batch.image)

    def alone(own: Tensor, other: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        prediction = Prediction(own, "multilabel", stream=batch.stream, peer=other)
        return module.objective.evaluate(prediction, batch.codes)

    first, second = alone(*logits), alone(*logits[::-1])
    total = module.training_step(batch, 0)
    assert float(total) == pytest.approx(float(first[0]) + float(second[0]), rel=1e-6)
    for prefix, (_, parts) in (("train", first), ("train/peer", second)):
        for name, value in parts.items():
            assert found[f"{prefix}/{name}"] == pytest.approx(float(value), rel=1e-6)
    total.backward()
    # No gradient goes through the other's decision: each has that of its own objective.
    expected = torch.autograd.grad(first[0], list(module.network.parameters()))
    for parameter, gradient in zip(module.network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(p.grad is not None for p in module.peer.parameters())


def test_one_optimizer_trains_both_and_no_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = make_module(loss=CROSSED | CONSISTENT)
    data = SimpleNamespace(patches=SimpleNamespace(steps_per_epoch=10))
    fake = SimpleNamespace(datamodule=data, max_epochs=1, accumulate_grad_batches=1)
    monkeypatch.setattr(SegmentationModule, "trainer", fake)
    (optimizer,), _ = module.configure_optimizers()
    learning = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert module.peer is not None
    expected = [*module.network.parameters(), *module.peer.parameters()]
    assert learning == {id(p) for p in expected}
    assert list(module.learners) == ["student", "peer"]
    assert list(module.networks) == ["student", "peer", "teacher"]


def test_heads_of_several_resolutions_meet_the_finest_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = crossed(network=DEEP)
    logged(module, monkeypatch)
    module.train()
    module.training_step(make_batch(), 0).backward()
    assert module.peer is not None
    assert all(p.grad is not None for p in module.peer.parameters() if p.requires_grad)


@pytest.mark.parametrize("predict_with", ["student", "peer"])
def test_both_are_validated(predict_with: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = crossed(predict_with=predict_with)
    found = logged(module, monkeypatch)
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(1, 6, (9, 8, 10), generator=generator, dtype=torch.uint8)
    module.validation_step(VolumeSample(torch.rand((1, 9, 8, 10)), codes, 0), 0)
    module.on_validation_epoch_end()
    assert found["val/dice_student"] != found["val/dice_peer"]
    assert found[MONITOR] == found[f"val/dice_{predict_with}"]


def test_a_checkpoint_carries_it(tmp_path: Path) -> None:
    module = crossed(predict_with="peer")
    again = make_module(loss=CROSSED, predict_with="peer")
    again.load_state_dict(module.state_dict())
    module.eval(), again.eval()
    image = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(module.predictor(image), again.predictor(image))
    assert not torch.equal(module.network(image), again.predictor(image))
