from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neoseg.findings.settings import ConfigError, WrongKeysError
from neoseg.training.optimisation import (
    AUTO,
    OptimizerSettings,
    check_optimizer,
    factor,
    make_optimizer,
    make_schedules,
)


def settings(**changes: Any) -> OptimizerSettings:
    return OptimizerSettings(**({"name": "sgd", "lr": 0.1} | changes))


@pytest.mark.parametrize(
    ("schedule", "warmup", "step", "expected"),
    [
        ("constant", 0, 0, 1.0),
        ("constant", 0, 999, 1.0),
        ("constant", 10, 0, 0.01),
        ("constant", 10, 5, 0.505),
        ("constant", 10, 10, 1.0),
        ("cosine", 0, 0, 1.0),
        ("cosine", 0, 50, 0.5),
        ("cosine", 0, 25, 0.8535533905932737),
        ("cosine", 0, 100, 0.0),
        ("cosine", 0, 150, 0.0),
        ("cosine", 20, 10, 0.505),
        ("cosine", 20, 20, 1.0),
        ("cosine", 20, 60, 0.5),
        ("cosine", 20, 100, 0.0),
        ("poly", 0, 0, 1.0),
        ("poly", 0, 50, 0.5358867312681466),
        ("poly", 0, 100, 0.0),
        ("poly", 0, 101, 0.0),
        ("poly", 20, 60, 0.5358867312681466),
    ],
)
def test_the_share_of_the_largest_rate(schedule, warmup, step, expected: float) -> None:
    found = factor(settings(schedule=schedule, warmup_steps=warmup), step, 100)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "poly"])
@pytest.mark.parametrize("warmup", [0, 7, 100, 200])
def test_no_rate_is_negative_or_above_the_largest(schedule: str, warmup: int) -> None:
    chosen = settings(schedule=schedule, warmup_steps=warmup)
    rates = [factor(chosen, step, 100) for step in range(250)]
    assert min(rates) >= 0
    assert max(rates) <= 1
    assert all(b >= a for a, b in pairwise(rates[: warmup + 1]))


def test_the_optimizer_follows_the_schedule() -> None:
    chosen = settings(schedule="cosine", warmup_steps=3, lr=0.2)
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters())
    (schedule,) = make_schedules(chosen, optimizer, 10)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.2 * factor(chosen, step, 10) for step in range(11)])


def test_plateau_waits_for_a_better_dice() -> None:
    chosen = settings(schedule="plateau", patience=2)
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters())
    (schedule,) = make_schedules(chosen, optimizer, 10)
    assert isinstance(schedule, ReduceLROnPlateau)
    rates = []
    for dice in (0.5, 0.6, 0.6, 0.6, 0.6, 0.7):
        schedule.step(dice)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_can_follow_a_warm_up() -> None:
    chosen = settings(schedule="plateau", patience=1, warmup_steps=6)
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters())
    plateau, warmup = make_schedules(chosen, optimizer, 10)
    rates = []
    for _ in range(4):  # epochs of three steps without any progress
        for _ in range(3):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            warmup.step()
        plateau.step(0.5)
    ramp = [0.1 * factor(chosen, step, 10) for step in range(6)]
    assert rates == pytest.approx([*ramp, *[0.1] * 3, *[0.01] * 3])


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"name": "sgd"}, torch.optim.SGD, {"momentum": 0.99, "nesterov": True}),
        ({"name": "sgd", "momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"name": "adam"}, torch.optim.Adam, {"weight_decay": 0.0}),
        ({"name": "adamw", "weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
    ],
)
def test_the_optimizer_is_the_one_asked_for(changes, kind, expected) -> None:
    optimizer = make_optimizer(settings(**changes), nn.Linear(2, 2).parameters())
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.1
    assert {key: group[key] for key in expected} == expected


def test_frozen_parameters_stay_out() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    network[0].requires_grad_(False)
    groups = make_optimizer(settings(), network.parameters()).param_groups
    assert [p is q for p, q in zip(groups[0]["params"], network[1].parameters(), strict=True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "lion"}, "name"),
        ({"lr": 0}, "lr"),
        ({"momentum": 1.0}, "momentum"),
        ({"schedule": "step"}, "schedule"),
        ({"warmup": 3}, "warmup"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**changes)


NADAM = {"_target_": "torch.optim.NAdam", "lr": 2e-3}
SCHEDULER = "torch.optim.lr_scheduler"
ONE_CYCLE = {"_target_": f"{SCHEDULER}.OneCycleLR", "max_lr": 0.1, "total_steps": AUTO}


class Sign(torch.optim.SGD):
    """An optimizer of another package."""


class Halving(torch.optim.lr_scheduler.StepLR):
    """A schedule of another package."""


def read(raw: dict[str, Any]) -> OptimizerSettings:
    return OptimizerSettings.read(raw, "optimizer")


def test_any_class_of_torch_with_any_of_its_arguments() -> None:
    more = {"betas": [0.8, 0.9], "weight_decay": 0.1, "decoupled_weight_decay": True}
    chosen = read(NADAM | more | {"schedule": "poly", "warmup_steps": 2})
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters())
    assert type(optimizer) is torch.optim.NAdam
    assert {k: optimizer.param_groups[0][k] for k in more} == more
    assert (chosen.lr, optimizer.param_groups[0]["lr"]) == (2e-3, 2e-3)
    (schedule,) = make_schedules(chosen, optimizer, 10)
    assert schedule.get_last_lr() == [2e-5]


@pytest.mark.parametrize("more", [{}, {"momentum_decay": 0.1}, {"weight_decay": 0.2}])
def test_settings_are_the_same_out_of_a_checkpoint(more: dict[str, Any]) -> None:
    chosen = read(NADAM | more | {"schedule": ONE_CYCLE})
    assert read(chosen.model_dump(mode="json", by_alias=True)) == chosen
    named = settings(schedule="poly")
    assert read(named.model_dump(mode="json", by_alias=True)) == named


@pytest.mark.parametrize(
    "name", ["RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD", "RAdam", "Rprop", "LBFGS"]
)
def test_the_usual_optimizers_need_no_more_than_a_rate(name: str) -> None:
    chosen = read({"_target_": f"torch.optim.{name}", "lr": 0.1})
    assert type(make_optimizer(chosen, nn.Linear(2, 2).parameters())).__name__ == name


def test_auto_is_the_steps_of_the_whole_training() -> None:
    chosen = settings(schedule=ONE_CYCLE)
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters())
    (schedule,) = make_schedules(chosen, optimizer, 40)
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(0.1)
    assert 10 <= rates.index(max(rates)) <= 13
    assert optimizer.param_groups[0]["lr"] < 1e-3


def test_plateau_as_a_class_waits_for_a_better_dice_and_may_warm_up() -> None:
    plateau = {"_target_": f"{SCHEDULER}.ReduceLROnPlateau", "patience": 0, "factor": 0.5}
    chosen = settings(schedule=plateau, warmup_steps=3)
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters())
    schedule, warmup = make_schedules(chosen, optimizer, 10)
    for dice in (0.5, 0.6, 0.7, 0.6):
        optimizer.step()
        warmup.step()
        schedule.step(dice)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (NADAM | {"betaz": [0.9, 0.9]}, "optimizer.betaz = .*NAdam has no such.*mean 'betas'"),
        (NADAM | {"warmup": 3}, "optimizer.warmup = 3: .*NAdam has no such argument"),
        (
            NADAM | {"betas": [2, 0.9], "eps": 1e-3},
            r"^optimizer: torch\.optim\.NAdam cannot be made with lr=0\.002, "
            r"betas=\[2, 0\.9\], eps=0\.001: Invalid beta parameter at index 0: 2",
        ),
        (NADAM | {"name": "adam"}, "optimizer.name is adam, beside a _target_"),
        ({"lr": 0.1}, "optimizer.name is not set"),
        ({"name": "adam", "lr": 0.1, "wait": 2}, "optimizer.wait = 2: there is no such key"),
        ({"_target_": "torch.optim.NAdam"}, "optimizer.lr is not set"),
        (NADAM | {"_target_": "torch.optim.NoSuch"}, "cannot be found"),
        (NADAM | {"_target_": "torch.optim.lr_scheduler.StepLR"}, "no subclass of Optimizer"),
        (NADAM | {"_target_": "torch.optim.adam.torch.load"}, "no subclass of Optimizer"),
        (NADAM | {"schedule": "step"}, "optimizer.schedule = 'step': use constant, cosine"),
        (NADAM | {"schedule": {"max_lr": 1}}, "optimizer.schedule = .*: use constant, cosine"),
        (
            NADAM | {"schedule": ONE_CYCLE | {"max_rl": 1}},
            "optimizer.schedule.max_rl = 1: .*OneCycleLR has no such argument; .*'max_lr'",
        ),
        (
            NADAM | {"schedule": ONE_CYCLE | {"pct_start": 2.0}},
            r"^optimizer\.schedule: .*OneCycleLR cannot be made with max_lr=0\.1, .*"
            r"pct_start=2\.0: .*pct_start",
        ),
        (
            NADAM | {"schedule": {"_target_": f"{SCHEDULER}.CosineAnnealingLR", "T_max": "x"}},
            "fails when it steps",
        ),
        (NADAM | {"schedule": {"_target_": "torch.optim.Adam"}}, "no subclass of LRScheduler"),
        (NADAM | {"schedule": ONE_CYCLE, "warmup_steps": 3}, "set optimizer.warmup_steps=0"),
    ],
)
def test_wrong_classes_and_arguments_are_found_before_anything_runs(raw, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(raw)


def test_classes_of_other_packages_need_to_be_allowed() -> None:
    schedule = {"_target_": f"{__name__}.Halving", "step_size": 1, "gamma": 0.5}
    chosen = read({"_target_": f"{__name__}.Sign", "lr": 0.1, "schedule": schedule})
    package = __name__.split(".")[0]
    with pytest.raises(ConfigError, match=rf"optimizer: .*allow=\[{package}\]"):
        check_optimizer(chosen)
    check_optimizer(chosen, [package])
    optimizer = make_optimizer(chosen, nn.Linear(2, 2).parameters(), [package])
    (made,) = make_schedules(chosen, optimizer, 10, [package])
    assert (type(optimizer), type(made)) == (Sign, Halving)
    wrong = read({"_target_": f"{__name__}.Sign", "lr": 0.1, "momentun": 0.5})
    with pytest.raises(WrongKeysError, match="did you mean 'momentum'"):
        check_optimizer(wrong, [package])
