"""What networks get of scans that lack an image, in training and validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_module import make_module, small_codebook
from torch import Tensor, nn

from neoseg.patches.batch import Batch
from neoseg.patches.volumes import VolumeSample

TWO = {"modalities": ["T2w", "T1w"]}
CONSISTENT = {"iuc": {"weight": 1.0}, "mean_teacher": {"weight": 1.0}}


def make_batch(channels: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((2, channels, 8, 8, 8), generator=generator) + 1
    return Batch(
        image=image,
        codes=torch.randint(small_codebook().size, (2, 8, 8, 8), dtype=torch.uint8),
        stream=torch.tensor([0, 1], dtype=torch.uint8),
        scan=torch.tensor([0, 1]),
        teacher_image=image + 0.5,
        noise_seed=torch.tensor([0, 1]),
        present=torch.tensor([[True, True], [True, False]]) if channels > 1 else None,
    )


def inputs_of(network: nn.Module) -> list[Tensor]:
    """Return a list that gets what the network is called with."""
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    return seen


@pytest.mark.parametrize(
    ("missing", "channels"),
    [(None, 2), ("require", 2), ("drop", 2), ("zero", 3), ("dropout", 3)],
)
def test_channels_of_the_networks(missing: str | None, channels: int) -> None:
    policy = None if missing is None else {"policy": missing}
    loss = {"iuc": {"weight": 1.0}, "cross_pseudo": {"weight": 1.0}}
    module = make_module(**TWO, missing_modality=policy, loss=loss)
    for network in (module.network, module.peer):
        first = next(m for m in network.modules() if isinstance(m, nn.Conv3d))
        assert first.in_channels == channels
    assert (module.hparams["missing_modality"] or {}).get("policy") == missing


def test_student_and_teacher_lack_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(**TWO, missing_modality={"policy": "zero"}, loss=CONSISTENT)
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    assert module.teacher is not None
    seen = [inputs_of(module.network), inputs_of(module.teacher)]
    batch = make_batch()
    module.training_step(batch, 0)
    (student,), (teacher,) = seen
    for image, given in ((batch.image, student), (batch.teacher_image, teacher)):
        assert image is not None
        assert given.shape == (2, 3, 8, 8, 8)
        assert torch.equal(given[0, :2], image[0])
        assert torch.equal(given[1, 0], image[1, 0])
        assert not given[1, 1].any()
        assert (given[0, 2] == 1).all()
        assert (given[1, 2] == 0).all()


def test_a_single_modality_is_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, states = [], []
    for missing in (None, {"policy": "zero"}, {"policy": "dropout"}):
        torch.manual_seed(1)
        module = make_module(missing_modality=missing)
        monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
        torch.manual_seed(2)
        losses.append(module.training_step(make_batch(1), 0))
        states.append(module.state_dict())
    for loss, state in zip(losses[1:], states[1:], strict=True):
        assert torch.equal(loss, losses[0])
        assert all(torch.equal(state[name], states[0][name]) for name in states[0])


def test_validation_looks_at_the_images_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(**TWO, missing_modality={"policy": "dropout"}).eval()
    seen = inputs_of(module.network)
    image = torch.rand((2, 8, 8, 8)) + 1
    sample = VolumeSample(image, torch.ones((8, 8, 8), dtype=torch.uint8), 0, (True, False))
    whole = replace(sample, present=(True, True))
    for one in (sample, whole):
        module.validation_step(one, 0)
    without, with_both = seen
    assert not without[:, 1:].any()
    assert torch.equal(with_both[0, :2], image)
    assert (with_both[:, 2] == 1).all()


def test_a_checkpoint_of_an_earlier_version_has_no_flags() -> None:
    arguments: dict[str, Any] = dict(make_module(**TWO).hparams)
    assert arguments.pop("missing_modality") is None
    again = make_module(**arguments)
    assert next(again.network.parameters()).shape[1] == 2
