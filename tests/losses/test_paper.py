"""The paper's four losses on the paper's hierarchy, and the label-set map of Fidon et al."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from cases import make_case

from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.losses.build import make_term
from neoseg.losses.term import Prediction

CHILDREN, PARENT = (1, 2, 3), 5


def paper_loss(name, y, x):
    """One voxel as the paper states it: x_c is 1, 0 or None; children of TCV hang together."""
    total = 0.0
    for c, known in enumerate(x):
        if known is not None:
            total -= math.log(y[c]) if known else math.log(1 - y[c])
    hidden = [c for c in CHILDREN if x[c] is None]
    if hidden and name != "iuc":
        assert x[PARENT] == 1
        highest = max(hidden, key=lambda c: y[c])
        for c in hidden:
            target = {
                "huc": float(c == highest),
                "weight": y[c],
                "wnorm": y[c] / sum(y[s] for s in CHILDREN),
            }[name]
            total -= target * math.log(y[c]) + (1 - target) * math.log(1 - y[c])
    return total / len(x)


@pytest.mark.parametrize("name", ["iuc", "huc", "weight", "wnorm"])
def test_equals_the_paper_where_the_children_are_hidden(name):
    case = make_case("paper", seed=12)
    space = case.codebook.space
    assert [entry.abbreviation for entry in space.classes][PARENT] == "TCV"
    # What the paper's arm sees: inside TCV the children are hidden, elsewhere all is known.
    rng = torch.Generator().manual_seed(3)
    leaf = torch.randint(0, 5, case.codes.shape, generator=rng)
    hide = torch.zeros_like(leaf, dtype=torch.bool)
    hide[1:] = True
    merged = case.codebook.code(space.label_set("TCV"))
    inside = (leaf >= 1) & (leaf <= 3)
    codes = torch.where(hide & inside, merged, leaf + 1).to(torch.uint8)

    expected = []
    for index in torch.cartesian_prod(*map(torch.arange, codes.shape)).tolist():
        b, *place = index
        y = case.logits[(b, slice(None), *place)].sigmoid().tolist()
        true = leaf[tuple(index)].item()
        x = [float(true == c) for c in range(5)] + [float(true in CHILDREN)]
        if b > 0 and true in CHILDREN:
            for c in CHILDREN:
                x[c] = None
        expected.append(paper_loss(name, y, x))
    loss = make_term(name, case.codebook, "multilabel", {})(case.prediction, codes)
    assert loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def gradient_of(name, case, **settings):
    logits = case.logits.clone().requires_grad_()
    term = make_term(name, case.codebook, "multilabel", settings)
    term(replace(case.prediction, logits=logits), case.codes).backward()
    return logits.grad


@pytest.mark.parametrize("name", ["weight", "wnorm"])
def test_the_gradient_through_the_target_can_be_stopped(name):
    case = make_case("paper", seed=13)
    merged = case.codebook.code(case.codebook.space.label_set("TCV"))
    case = replace(case, codes=torch.full_like(case.codes, merged))
    y = case.logits.sigmoid()
    target = y.clone()
    if name == "wnorm":
        target[:, 1:4] = y[:, 1:4] / y[:, 1:4].sum(dim=1, keepdim=True)
    # Of a cross-entropy with a constant target the gradient is y - target.
    stopped = gradient_of(name, case, stop_gradient=True)[:, 1:4]
    assert torch.allclose(stopped, (y - target)[:, 1:4] / case.logits.numel(), atol=1e-12)
    assert not torch.allclose(stopped, gradient_of(name, case)[:, 1:4], atol=1e-4)


@pytest.fixture
def fidon():
    """Four leaves and the voxels 0, 1, {2, 3}."""
    table = {
        "name": "fidon",
        "background": 0,
        "leaves": [
            {"index": k, "name": f"leaf {k}", "abbreviation": f"L{k}", "color": "#808080"}
            for k in range(4)
        ],
        "classes": [{"name": "both", "abbreviation": "B", "leaves": [2, 3]}],
    }
    space = LabelSpace.from_table(LabelTable.parse(table))
    book = Codebook.build(space, [frozenset({2, 3})])
    codes = torch.tensor([1, 2, book.code(frozenset({2, 3}))], dtype=torch.uint8)
    return book, codes.view(1, 1, 1, 3)


@pytest.mark.parametrize("child", [2, 3])
@pytest.mark.parametrize(
    ("name", "expected"),
    [("leaf_dice", 0.5), ("marginal_dice", 0.0), ("marginal_ce", 0.0), ("marginal_focal", 0.0)],
)
def test_either_child_is_right_on_the_map_of_the_label_set_paper(name, expected, child, fidon):
    book, codes = fidon
    logits = torch.zeros(1, 4, 1, 1, 3)
    for voxel, leaf in enumerate((0, 1, child)):
        logits[0, leaf, 0, 0, voxel] = 100.0
    loss = make_term(name, book, "softmax", {})(Prediction(logits, "softmax"), codes)
    assert loss.item() == pytest.approx(expected, abs=1e-4)


def test_the_distance_of_leaves_follows_the_hierarchy(fidon):
    book, _ = fidon
    wrong = {}
    for leaf in (0, 2, 3):
        logits = torch.zeros(1, 4, 1, 1, 1)
        logits[0, leaf] = 100.0
        truth = torch.full((1, 1, 1, 1), 4, dtype=torch.uint8)  # leaf 3
        term = make_term("wasserstein_dice", book, "softmax", {})
        wrong[leaf] = term(Prediction(logits, "softmax"), truth).item()
    # Leaves 2 and 3 share one of the three classes that hold either: distance 2/3, and the loss
    # of a single wrong voxel is 1 - 2 (1 - d) / (2 (1 - d) + d).
    assert wrong[3] == pytest.approx(0.0, abs=1e-6)
    assert wrong[2] == pytest.approx(0.5, abs=1e-4)
    assert wrong[0] == pytest.approx(1.0, abs=1e-4)
