"""Terms that name a paper against the authors' formulas, written down once more in a few lines."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from cases import make_case
from reference import REFERENCES
from torch import Tensor

from neoseg.losses.build import make_term
from neoseg.losses.registry import BUILT_IN, find_term

BG, CGM, WM, DGM, CSF, TCV = range(6)
CHILDREN = [CGM, WM, DGM]
PAPER = {"bce", "iuc", "huc", "weight", "wnorm"}
"""In test_paper.py and, on complete labels, test_identity.py."""


def batch(head, merged=(1,), void=()):
    """Return a case, its leaves `[3, V]`, and which voxels tell TCV alone; `void` are unknown."""
    case = make_case("paper", head, seed=31)
    rng = torch.Generator().manual_seed(4)
    leaf = torch.randint(0, 5, case.codes.shape, generator=rng)
    hidden = (leaf >= CGM) & (leaf <= DGM)
    hidden[[b for b in range(3) if b not in merged]] = False
    code = case.codebook.code(case.codebook.space.label_set("TCV"))
    codes = torch.where(hidden, code, leaf + 1).to(torch.uint8)
    codes[list(void)] = 0
    return replace(case, codes=codes), leaf.flatten(1), hidden.flatten(1)


def found(name, case, **settings):
    """Return value and gradient `[B, N, V]` of a term."""
    term = make_term(name, case.codebook, case.head, settings)
    prediction = case.prediction
    return value_and_gradient(
        case.logits, lambda z: term(replace(prediction, logits=z), case.codes)
    )


def value_and_gradient(logits, loss):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits)
    return value.item(), torch.autograd.grad(value, logits)[0].flatten(2)


def assert_same(ours, theirs, constant=0.0):
    assert ours[0] + constant == pytest.approx(theirs[0], rel=1e-7)
    assert torch.allclose(ours[1], theirs[1], rtol=1e-6, atol=1e-10)
    assert theirs[1].abs().sum() > 0


def truth_of(leaf: Tensor) -> Tensor:
    """Leaves and TCV as indicators `[B, 6, V]`."""
    one = F.one_hot(leaf, 5).movedim(-1, 1).double()
    return torch.cat([one, one[:, CHILDREN].sum(1, keepdim=True)], 1)


def test_class_masked_is_multitalent() -> None:
    """Each dataset has its valid classes; sums over items and classes, Dice of the batch."""
    case, leaf, _ = batch("multilabel")
    x = truth_of(leaf)
    valid = [range(6), (BG, CSF, TCV), range(6)]

    def theirs(z):
        z, entropy = z.flatten(2), 0.0
        tp, fp, fn = torch.zeros(3, 6, dtype=torch.float64)
        for b in range(3):
            for c in valid[b]:
                y, t = z[b, c].sigmoid(), x[b, c]
                entropy = entropy + F.binary_cross_entropy_with_logits(z[b, c], t)
                one = F.one_hot(torch.tensor(c), 6)
                tp, fp = tp + one * (y * t).sum(), fp + one * (y * (1 - t)).sum()
                fn = fn + one * ((1 - y) * t).sum()
        return entropy - (2 * tp / (2 * tp + fp + fn)).sum()

    # They subtract Dice, we add 1 - Dice, of six classes.
    ours = found("class_masked", case, smooth=1e-12)
    assert_same(ours, value_and_gradient(case.logits, theirs), constant=-6)


def test_tree_min_is_that_of_the_authors_code() -> None:
    """A mean over the leaves and a mean over the classes above them; void voxels do not count."""
    case, leaf, _ = batch("multilabel", merged=(), void=(2,))
    x = truth_of(leaf)[:2]

    def theirs(z):
        y = z.flatten(2)[:2].sigmoid()
        lowest, above = y[:, :5].clone(), y[:, TCV:]
        lowest[:, CHILDREN] = torch.minimum(y[:, CHILDREN], above)
        highest = torch.maximum(y[:, CHILDREN].amax(1, keepdim=True), above)
        leaves = -x[:, :5] * lowest.log() - (1 - x[:, :5]) * (1 - y[:, :5]).log()
        upper = -x[:, 5:] * above.log() - (1 - x[:, 5:]) * (1 - highest).log()
        return (leaves.sum() / 5 + upper.sum() / 1) / leaf[:2].numel()

    assert_same(found("tree_min", case), value_and_gradient(case.logits, theirs))


def test_exclusion_is_that_of_shi() -> None:
    """Item by item: children that are not drawn do not lie in what is drawn."""
    case, _, hidden = batch("softmax", merged=(1,))
    elsewhere = (~hidden[1]).double()

    def theirs(z):
        p = z.flatten(2).softmax(1)[1, CHILDREN]
        dice = 2 * (elsewhere * p).sum(1) / (elsewhere.sum() + p.sum(1))
        entropy = (elsewhere * (p + 1).log()).sum() / (3 * elsewhere.sum())
        return dice.mean() + entropy

    assert_same(found("exclusion", case, smooth=1e-12), value_and_gradient(case.logits, theirs))


def marginalised(z: Tensor, leaf: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction and truth `[B, 5, V]`, both spread evenly over the super-class (Fidon et al.)."""
    p, g = z.flatten(2).softmax(1), F.one_hot(leaf, 5).movedim(-1, 1).double()
    inside = torch.tensor([[0.0], [1.0], [1.0], [1.0], [0.0]]).double()
    at = hidden.unsqueeze(1) & (inside > 0)
    mean = (p * inside).sum(1, keepdim=True) / 3
    return torch.where(at, mean, p), torch.where(hidden.unsqueeze(1), inside / 3, g)


def mean_dice(p: Tensor, g: Tensor) -> Tensor:
    return 1 - (2 * (p * g).sum(2) / (p.square().sum(2) + g.square().sum(2))).mean()


def test_label_set_losses_are_those_of_fidon() -> None:
    case, leaf, hidden = batch("softmax", merged=(0, 1))

    def leaf_dice(z):
        single = F.one_hot(leaf, 5).movedim(-1, 1).double() * ~hidden.unsqueeze(1)
        return mean_dice(z.flatten(2).softmax(1), single)

    def entropy(z, gamma=0.0, leaves=1):
        p, g = marginalised(z, leaf, hidden)
        p = torch.where(hidden.unsqueeze(1), p * leaves, p)
        return -(g * (1 - p) ** gamma * p.log()).sum(1).mean()

    theirs = {
        "marginal_dice": lambda z: mean_dice(*marginalised(z, leaf, hidden)),
        "leaf_dice": leaf_dice,
        # As the docstrings say: less log |S| in each voxel, and P in place of P / |S|.
        "marginal_ce": entropy,
        "marginal_focal": lambda z: entropy(z, gamma=2.0, leaves=3),
    }
    for name, loss in theirs.items():
        settings = {"smooth": 1e-12} if "dice" in name else {}
        constant = math.log(3) * hidden.double().mean().item() if name == "marginal_ce" else 0.0
        ours = found(name, case, **settings)
        assert_same(ours, value_and_gradient(case.logits, loss), constant)


def test_teachers_and_peers_on_unlabelled_items() -> None:
    case = make_case("paper", "softmax", seed=33)
    case = replace(case, codes=torch.zeros_like(case.codes), teacher=3 * case.teacher)
    mean, teacher, peer = case.teacher_mean, case.teacher, case.peer
    limit = (0.75 + 0.25 * math.exp(-5 * (1 - case.progress) ** 2)) * math.log(5)
    sure = (-(mean * mean.log()).sum(1, keepdim=True) < limit).double()
    assert 0 < sure.mean() < 1

    def distance(z):
        return (z.softmax(1) - teacher.softmax(1)) ** 2

    def confident(z):  # their eq. 4
        q = teacher.softmax(1)
        entropy = F.cross_entropy(z, q.argmax(1), reduction="none")
        return ((q.amax(1) >= 0.95) * entropy).mean()

    theirs = {
        "mean_teacher": lambda z: F.mse_loss(z.softmax(1), teacher.softmax(1)),
        "uncertainty_teacher": lambda z: (sure * distance(z)).sum() / (5 * sure.sum()),
        "cross_pseudo": lambda z: F.cross_entropy(z, peer.argmax(1)),
        "fixmatch": confident,
    }
    for name, loss in theirs.items():
        assert_same(found(name, case), value_and_gradient(case.logits, loss))


def test_every_term_that_names_a_paper_is_here() -> None:
    """The rest equals PyTorch's and MONAI's losses on complete labels, see test_identity.py."""
    source = inspect.getsource(inspect.getmodule(test_every_term_that_names_a_paper_is_here))
    named = {n for n in BUILT_IN if re.search(r"et al|&", inspect.getdoc(find_term(n)) or "")}
    standard = {n for n in named if REFERENCES[n].supervised not in (None, "zero")}
    assert len(named) > 15
    assert not [n for n in named - standard - PAPER if f'"{n}"' not in source]
