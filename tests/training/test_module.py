from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent))

from small_module import DEEP, UNET, make_module, module_arguments, small_codebook

# `small_module` makes this one importable.
from small_cohort import annotate_cohort, make_data, write_cohort  # isort: skip

from neoseg.findings.settings import ConfigError
from neoseg.inference.model import ModelSpec
from neoseg.inference.trained import OF_TRAINING
from neoseg.losses import LossError, Prediction
from neoseg.patches.batch import Batch
from neoseg.patches.volumes import VolumeSample
from neoseg.training.module import (
    MONITOR,
    ModuleSpec,
    SegmentationModule,
)
from neoseg.training.optimisation import make_optimizer

CONSISTENT = {"iuc": {"weight": 1.0}, "mean_teacher": {"weight": 1.0}}
CROSSED = {"iuc": {"weight": 1.0}, "cross_pseudo": {"weight": 1.0}}
UNSURE = {"iuc": {"weight": 1.0}, "uncertainty_teacher": {"weight": 1.0}}


def make_batch(seed: int = 0, teacher: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    size = small_codebook().size
    image = torch.rand((2, 1, 8, 8, 8), generator=generator)
    return Batch(
        image=image,
        codes=torch.randint(size, (2, 8, 8, 8), generator=generator, dtype=torch.uint8),
        stream=torch.tensor([0, 1], dtype=torch.uint8),
        scan=torch.tensor([0, 1]),
        teacher_image=image + 0.1 if teacher else None,
        noise_seed=torch.tensor([seed, seed + 1]) if teacher else None,
    )


def make_trainer(folder: Path, **changes: Any) -> L.Trainer:
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
        "max_epochs": 2,
    }
    return L.Trainer(**(arguments | changes))


def plain_only(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(plain_only(v) for v in value.values())
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(plain_only(v) for v in value)
    return value is None or type(value) in (str, int, float, bool)


def logged(module: SegmentationModule, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Collect what the module logs."""
    found: dict[str, float] = {}
    monkeypatch.setattr(
        module, "log", lambda name, value, **_: found.__setitem__(name, float(value.detach()))
    )
    return found


@pytest.mark.parametrize("head", ["multilabel", "softmax"])
def test_it_builds_from_plain_containers(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = {"iuc": {}} if head == "multilabel" else {"marginal_ce": {}}
    module = make_module(head=head, loss=loss)
    assert plain_only(dict(module.hparams))
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    module.training_step(make_batch(), 0).backward()
    assert all(p.grad is not None for p in module.network.parameters() if p.requires_grad)


def test_a_checkpoint_loads_without_running_code(tmp_path: Path) -> None:
    module = make_module(loss=CONSISTENT)
    module._log_hyperparams = False
    trainer = make_trainer(tmp_path)
    trainer.strategy.connect(module)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)

    content = torch.load(path, weights_only=True)
    assert plain_only(content["hyper_parameters"])
    assert content["hyper_parameters"]["network"] == UNET
    again = SegmentationModule.load_from_checkpoint(path)
    assert again.codebook.sets == module.codebook.sets
    assert again.state_dict().keys() == module.state_dict().keys()
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    image = torch.rand(1, 1, 8, 8, 8)
    module.eval(), again.eval()
    assert torch.equal(module.predictor(image), again(image))


def test_the_codebook_survives_as_plain_lists() -> None:
    codebook = small_codebook()
    assert make_module(label_sets=codebook.plain_sets).codebook.sets == codebook.sets


@pytest.mark.parametrize(
    ("changes", "teacher", "predictor"),
    [
        ({}, False, "student"),
        ({"teacher": {"decay": 0.9, "always": True}}, True, "teacher"),
        ({"teacher": {"decay": 0.9, "always": True}, "predict_with": "student"}, True, "student"),
        ({"loss": CONSISTENT}, True, "teacher"),
        ({"loss": CONSISTENT, "predict_with": "teacher"}, True, "teacher"),
        ({"predict_with": "student"}, False, "student"),
        ({"loss": CROSSED}, False, "student"),
        ({"loss": CROSSED, "predict_with": "peer"}, False, "peer"),
        ({"loss": CROSSED | CONSISTENT}, True, "teacher"),
        ({"loss": CROSSED | CONSISTENT, "predict_with": "peer"}, True, "peer"),
    ],
)
def test_who_predicts(changes: dict[str, Any], teacher: bool, predictor: str) -> None:
    module = make_module(**changes)
    assert (module.teacher is not None) == teacher
    assert module.predict_with == predictor
    known = {"teacher": module.teacher, "peer": module.peer, "student": module.network}
    assert module.predictor is known[predictor]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predict_with": "both"}, "predict_with is 'both'; use auto, student, teacher or peer"),
        ({"predict_with": "peer"}, r"this run has none; add loss=\[\.\.\., cross_pseudo\]"),
        ({"predict_with": "teacher"}, r"this run has none.*teacher\.always=true"),
    ],
)
def test_a_predictor_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_module(**changes)


def test_a_loss_that_does_not_fit_the_head() -> None:
    with pytest.raises(LossError):
        make_module(head="softmax")


def test_batches_of_somebody_else_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the trainer datamodule=MixedDataModule"):
        make_trainer(tmp_path, max_epochs=1).fit(make_module(), [make_batch()])


def test_the_teacher_is_saved_and_kept_from_the_optimizer(tmp_path: Path) -> None:
    module = make_module(loss=CONSISTENT)
    assert any(name.startswith("teacher.") for name in module.state_dict())
    module.trainer = make_trainer(tmp_path, max_steps=5)
    module.trainer.strategy.connect(module)
    groups = make_optimizer(module.spec.optimizer, module.parameters()).param_groups
    assert len(groups[0]["params"]) == len(list(module.network.parameters()))
    module.train()
    assert module.network.training
    assert not module.teacher.training  # type: ignore[union-attr]


def test_the_consistency_term_gets_the_teachers_view(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(loss=CONSISTENT)
    found = logged(module, monkeypatch)
    module.training_step(make_batch(teacher=True), 0).backward()
    assert found["train/mean_teacher"] > 0
    assert found["train/loss"] == pytest.approx(
        found["train/iuc"] + found["train/mean_teacher"], rel=1e-5
    )
    with pytest.raises(ValueError, match="teacher"):
        module.training_step(make_batch(teacher=False), 0)


def test_a_teacher_that_no_term_asks_for_costs_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(teacher={"always": True})
    logged(module, monkeypatch)
    monkeypatch.setattr(type(module.teacher), "forward", lambda *_: pytest.fail("called"))
    module.training_step(make_batch(teacher=True), 0)


def test_ramps_and_terms_know_how_much_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ramp = {"share": 0.5, "shape": "linear"}
    module = make_module(
        loss={"iuc": {"ramp": ramp}, "uncertainty_teacher": {"weight": 0.0}}, teacher={"passes": 0}
    )
    found = logged(module, monkeypatch)
    seen: list[Prediction] = []
    term = module.objective.terms["uncertainty_teacher"]
    plain = term.compute
    monkeypatch.setattr(term, "compute", lambda p, codes: seen.append(p) or plain(p, codes))
    monkeypatch.setattr(SegmentationModule, "global_step", 7)
    monkeypatch.setattr("neoseg.training.module.total_steps", lambda _: 20)
    module.trainer = L.Trainer(logger=False, accelerator="cpu")
    module.configure_optimizers()
    module.training_step(make_batch(teacher=True), 0)
    assert found["train/loss"] == pytest.approx(0.7 * found["train/iuc"], rel=1e-6)
    assert [p.progress for p in seen] == [0.35]


@pytest.mark.parametrize("head", ["multilabel", "softmax"])
@pytest.mark.parametrize("passes", [0, 3])
def test_the_term_that_asks_how_sure_the_teacher_is_gets_its_mean(
    head: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = UNSURE if head == "multilabel" else {"marginal_ce": {}, "uncertainty_teacher": {}}
    module = make_module(loss=loss, head=head, teacher={"passes": passes, "noise": 0.2})
    logged(module, monkeypatch)
    seen: list[Prediction] = []
    term = module.objective.terms["uncertainty_teacher"]
    plain = term.compute
    monkeypatch.setattr(term, "compute", lambda p, codes: seen.append(p) or plain(p, codes))
    batch = make_batch(teacher=True)
    module.training_step(batch, 0).backward()
    mean, teacher = seen[0].teacher_mean, seen[0].teacher
    assert mean is not None
    assert teacher is not None
    assert mean.shape == teacher.shape
    once = teacher.sigmoid() if head == "multilabel" else teacher.softmax(1)
    if not passes:
        assert torch.equal(mean, once)
    else:
        assert not torch.allclose(mean, once, atol=1e-5)
        assert torch.allclose(mean, once, atol=0.2)
    if head == "softmax":
        torch.testing.assert_close(mean.sum(1), torch.ones_like(mean[:, 0]))


def test_deep_supervision_weighs_each_coarser_head_by_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module = make_module(network=DEEP)
    found = logged(module, monkeypatch)
    batch = make_batch()
    module.train()
    heads = module.network(batch.image)
    assert isinstance(heads, list)
    assert len(heads) == 2
    single = [float(objective_of(module, logits, batch).detach()) for logits in heads]
    loss = module.training_step(batch, 0)
    assert float(loss) == pytest.approx((single[0] + 0.5 * single[1]) / 1.5, rel=1e-5)
    assert found["train/iuc"] == pytest.approx(single[0], rel=1e-5)
    loss.backward()
    module.eval()
    assert isinstance(module.network(batch.image), Tensor)


def test_deep_supervision_and_a_teacher_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(network=DEEP, loss=CONSISTENT)
    logged(module, monkeypatch)
    module.train()
    module.training_step(make_batch(teacher=True), 0).backward()
    module.teacher.update(module.network)  # type: ignore[union-attr]


def test_validation_scores_student_and_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = make_module(loss=CONSISTENT)
    found = logged(module, monkeypatch)
    with torch.no_grad():  # a student that is not its teacher
        for parameter in module.network.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    module.eval()
    generator = torch.Generator().manual_seed(2)
    samples = [
        VolumeSample(
            torch.rand((1, 9, 8, 10), generator=generator),
            torch.randint(1, 6, (9, 8, 10), generator=generator, dtype=torch.uint8),
            number,
        )
        for number in range(2)
    ]
    for number, sample in enumerate(samples):
        module.validation_step(sample, number)
    module.on_validation_epoch_end()
    assert found["val/dice_teacher"] == pytest.approx(found[MONITOR])
    assert found["val/dice_student"] != pytest.approx(found[MONITOR])
    leaves = [
        found[f"val/dice/{k}"] for k in ("CSF", "GM_L", "GM_R", "WM") if f"val/dice/{k}" in found
    ]
    assert found[MONITOR] == pytest.approx(np.mean(leaves), abs=1e-6)
    assert "val/dice/TCV" in found
    # The next epoch starts from nothing.
    found.clear()
    module.on_validation_epoch_end()
    assert not found


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.3, "momentum": 0.9, "schedule": "poly"},
        {"name": "adamw", "lr": 1e-2, "schedule": "cosine", "warmup_steps": 2},
        {"name": "adam", "lr": 1e-2, "schedule": "plateau"},
    ],
    ids=lambda o: o["name"],
)
def test_a_few_steps_lower_the_loss(tmp_path: Path, optimizer: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = make_module(optimizer=optimizer)
    annotated = annotate_cohort(
        write_cohort(tmp_path), ["full"] * 4, ["train", "train", "train", "val"]
    )
    data = make_data(annotated, tmp_path / "store")
    batch = next(iter(data.train_dataloader()))
    before = float(loss_of(module, batch))
    make_trainer(tmp_path, max_epochs=6).fit(module, data)
    module.train()
    assert float(loss_of(module, batch)) < 0.9 * before


def loss_of(module: SegmentationModule, batch: Batch) -> Tensor:
    return objective_of(module, module.network(batch.image), batch).detach()


def objective_of(module: SegmentationModule, logits: Tensor, batch: Batch) -> Tensor:
    prediction = Prediction(logits, "multilabel", stream=batch.stream)
    return module.objective.evaluate(prediction, batch.codes)[0]


def test_the_teacher_follows_each_step_of_a_fit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = make_module(loss=CONSISTENT)
    cohort = write_cohort(tmp_path)
    data = make_data(
        annotate_cohort(cohort, ["full", "partial", "partial", "partial"]),
        tmp_path / "store",
        with_teacher=True,
    )
    make_trainer(tmp_path, accumulate_grad_batches=3, max_epochs=4).fit(module, data)
    assert module.teacher is not None
    # Four optimizer steps of three batches each.
    assert int(module.teacher.average.n_averaged) == module.global_step == 4
    for a, b in zip(
        module.teacher.average.module.parameters(), module.network.parameters(), strict=True
    ):
        assert not torch.equal(a, b)


@pytest.mark.parametrize("loss", [{"iuc": {}}, {"class_masked": {}}, CONSISTENT])
def test_noise_in_place_of_hidden_labels_gives_the_same_weights(
    tmp_path: Path, loss: dict[str, Any]
) -> None:
    """What a protocol hides has no way into the weights or the validation score."""
    weights, scores = [], []
    splits = ["train", "train", "train", "val"]
    for name, scrambled in (("true", []), ("noise", [1, 2]), ("seen", [0])):
        cohort = write_cohort(tmp_path / name, scrambled=scrambled)
        annotated = annotate_cohort(cohort, ["full", "partial", "partial", "full"], splits)
        with_teacher = "mean_teacher" in loss
        data = make_data(annotated, tmp_path / name / "store", with_teacher=with_teacher)
        torch.manual_seed(0)
        module = make_module(loss=loss, label_sets=annotated.codebook.plain_sets)
        trainer = make_trainer(tmp_path / name)
        trainer.fit(module, data)
        weights.append(torch.cat([p.detach().flatten() for p in module.network.parameters()]))
        scores.append(float(trainer.callback_metrics[MONITOR]))
    assert torch.equal(weights[0], weights[1])
    assert scores[0] == scores[1]
    # Noise in a scan whose labels are all told does reach the weights.
    assert not torch.equal(weights[0], weights[2])


def test_arguments_are_all_plain() -> None:
    assert plain_only(module_arguments())


def test_prediction_knows_what_is_of_training_alone() -> None:
    assert frozenset(ModuleSpec.model_fields) - frozenset(ModelSpec.model_fields) == OF_TRAINING
