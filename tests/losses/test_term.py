"""Every registered term against its loop reference, and what all terms promise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from cases import LEAVES, SHAPES, every_term, every_variant, make_case
from reference import REFERENCES

from neoseg.losses.build import make_term
from neoseg.losses.fused import passes
from neoseg.losses.objective import Objective
from neoseg.losses.registry import BUILT_IN, find_term
from neoseg.losses.term import Prediction

REFERENCED = [variant for variant in every_variant() if variant[0] in REFERENCES]

LABELS_ALONE = [v for v in REFERENCED if not REFERENCES[v[0]].decides]
"""What learns nothing where nothing is known and no other network disagrees."""

OTHERS = [
    (name, head, field)
    for name, head in every_term()
    for field, needed in (
        ("teacher", find_term(name).needs_teacher),
        ("peer", find_term(name).needs_peer),
        ("teacher_mean", find_term(name).needs_passes),
    )
    if needed
]
"""(term, head, field of the prediction that stems from another network)."""


def build(name, case, settings=None):
    return make_term(name, case.codebook, case.head, settings or {})


def value_and_gradient(term, case):
    logits = case.logits.detach().clone().requires_grad_()
    loss = term(replace(case.prediction, logits=logits), case.codes)
    assert loss.requires_grad
    loss.backward()
    return loss.detach(), logits.grad


def test_every_term_has_a_reference():
    missing = sorted(set(BUILT_IN) - set(REFERENCES))
    assert not missing, f"add {missing} to tests/losses/reference.py"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("space", LEAVES)
@pytest.mark.parametrize(("name", "head", "settings"), REFERENCED)
def test_equals_the_loop_reference(name, head, settings, space, shape):
    case = make_case(space, head, shape, seed=sum(map(ord, name + space + shape)))
    loss = build(name, case, settings)(case.prediction, case.codes)
    expected = REFERENCES[name].value(case.world, **settings)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "head", "settings"),
    # A stopped gradient is not the gradient of the value.
    [variant for variant in every_variant() if not variant[2].get("stop_gradient")],
)
def test_gradient_is_that_of_the_value(name, head, settings):
    case = make_case("overlapping", head, "volume", seed=3)
    term = build(name, case, settings)

    def loss(logits):
        return term(replace(case.prediction, logits=logits), case.codes)

    assert torch.autograd.gradcheck(loss, (case.logits.clone().requires_grad_(),))


@pytest.mark.parametrize("space", ["overlapping", "flat"])
@pytest.mark.parametrize(("name", "head", "settings"), LABELS_ALONE)
def test_nothing_known_gives_zero_with_a_graph(name, head, settings, space):
    case = make_case(space, head)
    # A teacher that agrees leaves nothing to learn either.
    case = replace(case, codes=torch.zeros_like(case.codes), teacher=case.logits)
    loss, gradient = value_and_gradient(build(name, case, settings), case)
    assert loss.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(("name", "head", "settings"), LABELS_ALONE)
def test_unknown_voxels_get_no_gradient(name, head, settings):
    case = make_case("overlapping", head, seed=5)
    case = replace(case, teacher=case.logits)
    assert (case.codes[:-1] == 0).any()
    _, gradient = value_and_gradient(build(name, case, settings), case)
    at_unknown = gradient.movedim(1, -1)[case.codes == 0]
    assert torch.equal(at_unknown, torch.zeros_like(at_unknown))


@pytest.mark.parametrize("space", ["paper", "overlapping"])
@pytest.mark.parametrize(
    "name", [name for name, entry in REFERENCES.items() if entry.closed_gradient is not None]
)
def test_open_entries_get_no_gradient(name, space):
    case = make_case(space, "multilabel", seed=7)
    term = build(name, case, REFERENCES[name].closed_gradient)
    _, gradient = value_and_gradient(term, case)
    world = case.world
    flat = gradient.flatten(2)
    counted = 0
    for b, v, label_set in world.voxels():
        for c in range(len(world.classes)):
            if world.state(c, label_set) is None:
                assert flat[b, c, v].item() == 0.0
                counted += 1
    assert counted > 10
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "head"), every_term())
def test_extreme_logits_in_low_precision_stay_finite(name, head, precision):
    case = make_case("overlapping", head, seed=11)
    signs = torch.randn(case.logits.shape, generator=torch.Generator().manual_seed(1)).sign()
    low = replace(
        case,
        logits=(80 * signs).to(precision),
        teacher=(80 * signs.flip(1)).to(precision),
        peer=(80 * signs.flip(1)).to(precision),
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss, gradient = value_and_gradient(build(name, case), low)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    expected, _ = value_and_gradient(
        build(name, case), replace(low, logits=low.logits.double(), teacher=low.teacher.double())
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("name", "head"), every_term())
def test_a_voxel_of_many_keeps_its_gradient_in_float16(name, head):
    """Its share of a mean is below what float16 holds, and a scaler's slope brings it back."""
    case = make_case("overlapping", head, seed=2, dtype=torch.float16)
    objective = Objective({name: {"weight": 1e-6, "ramp": None}}, case.codebook, head)
    given = {key: getattr(case, key) for key in ("teacher", "peer", "teacher_mean", "stream")}
    found = []
    for kind in (torch.float16, torch.float64):
        logits = case.logits.detach().to(kind).requires_grad_()
        (objective(logits, case.codes, **given) * 1e6).backward()
        found.append(logits.grad.double())
    assert found[1].norm() > 0
    assert (found[0] - found[1]).norm() < 2e-3 * found[1].norm()


@pytest.mark.parametrize(("name", "head", "field"), OTHERS)
@pytest.mark.parametrize("change", [lambda t: t[:1], lambda t: t[:, :1]])
def test_another_network_s_logits_of_another_shape_are_refused(name, head, field, change):
    case = make_case("paper", head)
    prediction = replace(case.prediction, **{field: change(getattr(case, field))})
    with pytest.raises(ValueError, match=f"{field} must have the shape of the logits"):
        build(name, case)(prediction, case.codes)


@pytest.mark.parametrize(("name", "head"), every_term())
def test_codes_beyond_the_codebook_are_named(name, head):
    case = make_case("paper", head)
    codes = case.codes.clone()
    codes[-1, ..., -1] = case.codebook.size
    with pytest.raises(ValueError, match=f"codes go up to {case.codebook.size}, and the codebook"):
        build(name, case)(case.prediction, codes)


@pytest.mark.parametrize(("name", "head"), every_term())
def test_all_logits_far_below_or_above_zero_stay_finite(name, head):
    for level in (-80.0, 80.0, -200.0, -3e38, 3e38):
        case = make_case("overlapping", head, seed=11, dtype=torch.float32)
        case = replace(case, logits=torch.full_like(case.logits, level))
        loss, gradient = value_and_gradient(build(name, case), case)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "head"), every_term())
@pytest.mark.parametrize("kernels", [True, False])
def test_logits_at_the_end_of_float32_stay_finite(name, head, kernels, monkeypatch):
    if not kernels:
        monkeypatch.setattr(passes, "usable", lambda *_: False)
    case = make_case("overlapping", head, seed=11, dtype=torch.float32)
    case = replace(case, logits=3e38 * case.logits.sign())
    loss, gradient = value_and_gradient(build(name, case), case)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "head"), every_term())
def test_an_empty_batch_is_named(name, head):
    case = make_case("paper", head)
    for codes in (case.codes[:0], case.codes[..., :0]):
        with pytest.raises(ValueError, match="the batch is empty"):
            build(name, case)(case.prediction, codes)


@pytest.mark.parametrize("name", ["iuc", "focal", "dice"])
def test_a_second_derivative_is_refused_and_not_zero(name):
    case = make_case("paper")
    logits = case.logits.clone().requires_grad_()
    loss = build(name, case)(replace(case.prediction, logits=logits), case.codes)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    assert torch.equal(gradient, value_and_gradient(build(name, case), case)[1])
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        (loss + gradient.square().sum()).backward()


@pytest.mark.parametrize(("name", "head"), every_term())
def test_a_checkpoint_carries_no_tables(name, head):
    case = make_case("paper", head)
    assert not build(name, case).state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "cubic"}, "heads multilabel, found 'cubic'"),
        ({"head": "softmax"}, "heads multilabel, found 'softmax'"),
        ({"logits": torch.zeros(2, 5, 1, 2, 2)}, r"need logits of shape \(2, 6, 1, 2, 2\)"),
        ({"stream": torch.zeros(1, dtype=torch.uint8)}, r"one number an item, \(2,\), found \(1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, message):
    case = make_case("paper")
    term = build("iuc", case)
    prediction = replace(Prediction(torch.zeros(2, 6, 1, 2, 2), "multilabel"), **change)
    with pytest.raises(ValueError, match=message):
        term(prediction, torch.zeros(2, 1, 2, 2, dtype=torch.uint8))


def test_codes_of_another_type_are_refused():
    case = make_case("paper")
    with pytest.raises(ValueError, match=r"codes must be a tensor, found ndarray"):
        build("iuc", case)(case.prediction, case.codes.numpy())
    with pytest.raises(ValueError, match=r"codes must be uint8, found torch\.int64"):
        build("iuc", case)(case.prediction, case.codes.long())


@pytest.mark.parametrize(("name", "head", "field"), OTHERS)
def test_a_missing_network_is_named(name, head, field):
    case = make_case("paper", head)
    with pytest.raises(ValueError, match="but the prediction has no"):
        build(name, case)(replace(case.prediction, **{field: None}), case.codes)


@pytest.mark.parametrize(("name", "head", "field"), OTHERS)
def test_no_gradient_reaches_another_network(name, head, field):
    case = make_case("paper", head)
    case = replace(case, teacher=4 * case.teacher)  # sure enough for any threshold
    other = getattr(case, field).clone().requires_grad_()
    logits = case.logits.clone().requires_grad_()
    prediction = replace(case.prediction, logits=logits, **{field: other})
    build(name, case)(prediction, case.codes).backward()
    assert logits.grad.abs().sum() > 0
    assert other.grad is None


@pytest.mark.parametrize("level", [-5.0, -20.0, -80.0])
def test_noisy_or_pulls_however_far_below_the_leaves_are(level):
    case = make_case("paper", dtype=torch.float32)
    merged = case.codebook.code(case.codebook.space.label_set("TCV"))
    case = replace(
        case,
        logits=torch.full_like(case.logits, level),
        codes=torch.full_like(case.codes, merged),
    )
    loss, gradient = value_and_gradient(build("noisy_or", case), case)
    # For small y the noisy-or is their sum: -log(3 y), which each leaf changes by a third.
    y = math.exp(level)
    assert loss.item() == pytest.approx(-(level + math.log(3)) / 6, rel=2 * y + 1e-5)
    share = gradient[:, 1:4] * case.codes.numel() * 6
    assert torch.allclose(share, torch.full_like(share, -1 / 3), atol=2 * y + 1e-5)
