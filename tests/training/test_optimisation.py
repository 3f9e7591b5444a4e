from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neoseg.training.optimisation import (
    OptimizerSettings,
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
