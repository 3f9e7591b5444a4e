"""The examples run, and learn from what they are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "experiments" / "examples"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantom")


def test_a_plain_pytorch_loop(folder: Path) -> None:
    import pytorch_loop

    losses = pytorch_loop.main(folder, steps=12)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_monai_training(folder: Path) -> None:
    import monai_loop

    losses = monai_loop.main(folder, epochs=12)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_loss_in_nnunet_s_trainer() -> None:
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
    import nnunet_trainer
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = nnunet_trainer.nnUNetTrainerLabelSets
    assert issubclass(trainer, nnUNetTrainer)
    made = object.__new__(trainer)
    names = {"background": 0, "cGM": 1, "WM": 2, "dGM": 3, "cerebrum": 4}
    made.dataset_json, made.device = {"labels": names}, torch.device("cpu")
    loss = made._build_loss()
    target = torch.randint(0, 5, (2, 1, 8, 8, 8))
    wanted = target[:, 0].clamp(max=3)
    logits = 20.0 * torch.nn.functional.one_hot(wanted, 5).movedim(-1, 1).float()
    logits.requires_grad_()
    # White matter where the truth is "somewhere in the cerebrum" is as right as deep grey.
    other = torch.where(target[:, 0] == 4, 2, wanted)
    same = 20.0 * torch.nn.functional.one_hot(other, 5).movedim(-1, 1).float()
    value = loss([logits, logits[..., ::2, ::2, ::2]], [target, target[..., ::2, ::2, ::2]])
    value.backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad[:, 4], torch.zeros(()))
    ce = loss.objective.terms["marginal_ce"]
    assert ce is not None
    outside = torch.where(target[:, 0] == 4, 0, wanted)
    wrong = 20.0 * torch.nn.functional.one_hot(outside, 5).movedim(-1, 1).float()
    both = [loss(one, target) for one in (same, wrong)]
    assert both[0] + 0.1 < both[1]
