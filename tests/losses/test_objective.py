from __future__ import annotations

import math

import pytest
import torch
from cases import make_case

from neoseg.losses.objective import Objective
from neoseg.losses.registry import LossError, register_loss
from neoseg.losses.share import Ramp
from neoseg.losses.term import DenseTerm


def build(config, head="multilabel"):
    return Objective(config, make_case("paper").codebook, head)


def test_sum_of_weighted_terms():
    case = make_case("paper", seed=1)
    objective = build({"iuc": {"weight": 2.0}, "mean_teacher": {"weight": 0.5, "ramp": None}})
    total, parts = objective.evaluate(case.prediction, case.codes)
    assert set(parts) == {"iuc", "mean_teacher"}
    assert total.item() == pytest.approx(2 * parts["iuc"].item() + 0.5 * parts["mean_teacher"])
    assert not any(value.requires_grad for value in parts.values())


def test_a_plain_loss_of_logits_and_codes():
    case = make_case("paper", seed=1)
    logits = case.logits.clone().requires_grad_()
    loss = build({"iuc": {}, "dice": {"weight": 0.5}})(logits, case.codes)
    loss.backward()
    assert loss.shape == ()
    assert logits.grad.abs().sum() > 0


def test_names_alone_and_a_progress_that_is_none():
    case = make_case("paper", seed=1)
    named = build(["iuc", "dice"])
    assert named(case.logits, case.codes) == build({"iuc": {}, "dice": {}})(case.logits, case.codes)
    for wrong in ("iuc", ["iuc", "iuc"]):
        with pytest.raises(LossError, match="no list of names, each once"):
            build(wrong)
    for progress in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"progress is .*, expected the share"):
            named(case.logits, case.codes, progress=progress)


def test_all_that_a_term_may_need_can_be_given():
    case = make_case("paper", seed=1)
    names = ("iuc", "mean_teacher", "uncertainty_teacher", "cross_pseudo", "fixmatch")
    objective = build(
        {
            name: {"ramp": {"share": 0.5}, **({} if name == "iuc" else {"streams": ["full"]})}
            for name in names
        }
    )
    given = {
        name: getattr(case, name)
        for name in ("teacher", "peer", "teacher_mean", "stream", "progress")
    }
    total, _ = objective.evaluate(case.prediction, case.codes)
    assert objective(case.logits, case.codes, **given) == total
    assert objective(case.logits, case.codes, **{**given, "progress": 0.0}) < total


@pytest.mark.parametrize(
    ("name", "settings", "missing"),
    [
        ("mean_teacher", {}, "teacher="),
        ("cross_pseudo", {}, "peer="),
        ("uncertainty_teacher", {}, "teacher_mean="),
        ("fixmatch", {"streams": "full"}, "stream="),
    ],
)
def test_what_a_term_needs_and_does_not_get_is_named(name, settings, missing):
    case = make_case("paper")
    given = {"teacher": case.teacher, "peer": case.peer, "teacher_mean": case.teacher_mean}
    given.pop(missing[:-1], None)
    with pytest.raises(ValueError, match=f"pass {missing}"):
        build({name: settings})(case.logits, case.codes, **given)


def test_one_term_twice_under_two_keys():
    case = make_case("paper", seed=1)
    config = {
        "all_items": {"term": "mean_teacher"},
        "unlabelled_items": {"term": "mean_teacher", "streams": "unlabelled", "weight": 3.0},
    }
    _, parts = build(config).evaluate(case.prediction, case.codes)
    assert parts["all_items"] != parts["unlabelled_items"]


@pytest.mark.parametrize(
    ("ramp", "progress", "expected"),
    [
        ({}, 0, math.exp(-5)),
        ({}, 0.5, math.exp(-1.25)),
        ({}, 1, 1.0),
        ({"share": 0.4}, 0.2, math.exp(-1.25)),
        ({"share": 0.4}, 0.9, 1.0),
        ({"share": 0.5, "shape": "linear"}, 0.2, 0.4),
        ({"share": 0.5, "shape": "linear", "start": 0.4}, 0.3, 0.0),
        ({"share": 0.5, "shape": "linear", "start": 0.4}, 0.65, 0.5),
        ({"shape": "constant"}, 0, 1.0),
        ({"shape": "constant", "start": 0.5}, 0.4, 0.0),
    ],
)
def test_ramp(ramp, progress, expected):
    assert Ramp(**ramp).factor(progress) == pytest.approx(expected)
    objective = build({"iuc": {"weight": 2.0, "ramp": ramp}})
    assert objective.weights(progress) == {"iuc": pytest.approx(2 * expected)}


def test_weight_zero_still_reaches_every_input():
    case = make_case("paper", seed=1)
    logits = case.logits.clone().requires_grad_()
    objective = build({"iuc": {"ramp": {"start": 0.5}}})
    objective(logits, case.codes).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_needs_teacher_follows_the_terms():
    assert not build({"iuc": {}}).needs_teacher
    assert build({"iuc": {}, "mean_teacher": {}}).needs_teacher


def test_accepts_partial_follows_the_terms():
    assert not build({"bce": {}, "mean_teacher": {}}).accepts_partial
    assert build({"bce": {}, "iuc": {}}).accepts_partial


def test_a_null_entry_is_left_out():
    assert set(build({"iuc": {}, "bce": None}).terms) == {"iuc"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no terms"),
        ({"iuc": None}, "no terms"),
        ({"iux": {}}, "did you mean 'iuc'"),
        ({"mine": {"term": "wnrm"}}, "did you mean 'wnorm'"),
        ({"iuc": {"wieght": 1.0}}, "no setting 'wieght'; did you mean 'weight'"),
        ({"iuc": {"weight": -1}}, r"loss\.iuc\.weight is -1: .*greater than or equal to 0"),
        ({"iuc": {"weight": float("nan")}}, r"loss\.iuc\.weight is nan"),
        ({"iuc": {"ramp": {"sahre": 0.3}}}, "did you mean 'share'"),
        ({"iuc": {"ramp": {"steps": 300}}}, r"ramp\.steps is 300: .*a share of the training"),
        ({"iuc": {"ramp": {"share": 400}}}, r"ramp\.share is 400: .*less than or equal to 1"),
        ({"iuc": {"ramp": {"shape": "cubic"}}}, r"loss\.iuc\.ramp\.shape is 'cubic'"),
        ({"iuc": 3.0}, r"loss\.iuc is 3\.0, expected a mapping"),
        ({"two words": {"term": "iuc"}}, "letters, digits and underscores"),
        ({"double": {"term": "iuc"}}, r"choose another key, as in my_double: \{term: double\}"),
        ({"marginal_ce": {}}, "terms for 'multilabel': .*iuc"),
    ],
)
def test_mistakes_are_named(config, message):
    with pytest.raises(LossError, match=message):
        build(config)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda value: value.expand(3),
            r"loss\.own gives a Tensor of shape \[3\], expected a scalar",
        ),
        (float, r"loss\.own gives a float, expected a scalar tensor"),
        (lambda value: value.detach(), r"loss own: the value is detached from the logits"),
    ],
)
def test_what_a_term_of_ones_own_returns_is_looked_at(spoil, message, monkeypatch):
    monkeypatch.setattr("neoseg.losses.registry._registered", {})

    @register_loss("own")
    class Own(DenseTerm):
        heads = frozenset({"multilabel"})

        def compute(self, prediction, codes):
            return spoil(prediction.logits.square().mean())

    case = make_case("paper")
    with pytest.raises(LossError, match=message):
        build({"own": {}})(case.logits.requires_grad_(), case.codes)
