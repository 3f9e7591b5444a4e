"""Identities: complete labels give standard losses, and no numbering or order matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import Case, every_variant, make_case, make_codebook, make_space
from monai.losses import DiceLoss, GeneralizedWassersteinDiceLoss, TverskyLoss
from reference import REFERENCES

from neoseg.labels import Codebook
from neoseg.losses.build import make_term


def evaluate(name, case, settings=None):
    return make_term(name, case.codebook, case.head, settings or {})(case.prediction, case.codes)


def one_hot(case):
    """Float `[B, N, *S]`: the channels that are true on complete labels."""
    leaf = F.one_hot(case.codes.long() - 1, case.codebook.space.num_leaves).double()
    if case.head == "multilabel":
        leaf = leaf @ torch.from_numpy(case.codebook.space.class_leaves.T).double()
    return leaf.movedim(-1, 1)


def activated(case):
    return case.logits.sigmoid() if case.head == "multilabel" else case.logits.softmax(1)


def standard(kind, case):
    """Return standard losses on complete labels from torch and MONAI."""
    target = one_hot(case)
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(case.logits, target)
    if kind == "ce":
        return F.cross_entropy(case.logits, case.codes.long() - 1)
    if kind == "dice":
        return DiceLoss()(activated(case), target)
    if kind == "squared_dice":
        # Leaf-Dice smooths the denominator only.
        return DiceLoss(squared_pred=True, smooth_nr=0.0)(activated(case), target)
    if kind == "class_sums":
        items, classes = case.logits.shape[:2]
        overlap = DiceLoss(batch=True)(activated(case), target)
        return items * classes * standard("bce", case) + classes * overlap
    if kind == "sigmoid_focal":
        entry = F.binary_cross_entropy_with_logits(case.logits, target, reduction="none")
        return ((1 - torch.exp(-entry)) ** 2 * entry).mean()
    if kind == "softmax_focal":
        voxel = F.cross_entropy(case.logits, case.codes.long() - 1, reduction="none")
        return ((1 - torch.exp(-voxel)) ** 2 * voxel).mean()
    if kind == "tversky":
        everything = replace(case, head="multilabel")
        return TverskyLoss(alpha=0.3, beta=0.7)(class_probabilities(case), one_hot(everything))
    if kind == "wasserstein_dice":
        # MONAI takes class 0 for the background.
        space = case.codebook.space
        order = sorted(range(space.num_leaves), key=lambda leaf: leaf != space.background)
        distance = jaccard(space)[order][:, order].astype(np.float32)
        place = torch.tensor([order.index(leaf) for leaf in range(space.num_leaves)])
        loss = GeneralizedWassersteinDiceLoss(distance, smooth_nr=1e-5, smooth_dr=1e-5)
        return loss(case.logits[:, order], place[case.codes.long() - 1])
    if kind == "dice_ce":
        return standard("dice", case) + standard("ce", case)
    assert kind == "zero"
    return torch.zeros((), dtype=torch.float64)


def class_probabilities(case):
    if case.head == "multilabel":
        return activated(case)
    table = torch.from_numpy(case.codebook.space.class_leaves.T).double()
    return (activated(case).movedim(1, -1) @ table).movedim(-1, 1)


def jaccard(space):
    inside = [
        {c for c, row in enumerate(space.class_leaves) if row[k]} for k in range(space.num_leaves)
    ]
    return np.array([[1 - len(a & b) / len(a | b) for b in inside] for a in inside])


@pytest.mark.parametrize("space", ["paper", "overlapping"])
@pytest.mark.parametrize(
    ("name", "head", "settings"),
    [
        (n, h, s)
        for n, h, s in every_variant()
        if not s and n in REFERENCES and REFERENCES[n].supervised
    ],
)
def test_complete_labels_give_the_standard_loss(name, head, settings, space):
    case = make_case(space, head, complete=True, seed=2)
    expected = standard(REFERENCES[name].supervised, case)
    assert evaluate(name, case).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize(("name", "head", "settings"), every_variant())
def test_other_codes_for_the_same_sets_change_nothing(name, head, settings):
    case = make_case("overlapping", head, seed=4)
    space = case.codebook.space
    # The extra sets sort between the old ones, so that codes of merged sets move.
    larger = make_codebook(space, (("BG", "b"), ("a", "b"), ("a", "c"), ("BG", "b", "c")))
    moved = torch.tensor([larger.code(s) for s in case.codebook.sets], dtype=torch.uint8)
    assert not torch.equal(moved, torch.arange(len(moved), dtype=torch.uint8))
    other = replace(case, codebook=larger, codes=moved[case.codes.long()])
    # Sums over codes are added up in the order of the codes.
    before, after = evaluate(name, case, settings), evaluate(name, other, settings)
    assert after.item() == pytest.approx(before.item(), rel=1e-12)


@pytest.mark.parametrize(("name", "head", "settings"), every_variant())
def test_the_order_of_items_changes_nothing(name, head, settings):
    case = make_case("overlapping", head, seed=6)
    order = torch.tensor([2, 0, 1])
    other = replace(
        case,
        logits=case.logits[order],
        teacher=case.teacher[order],
        peer=case.peer[order],
        teacher_mean=case.teacher_mean[order],
        codes=case.codes[order],
        stream=case.stream[order],
    )
    before, after = evaluate(name, case, settings), evaluate(name, other, settings)
    assert after.item() == pytest.approx(before.item(), rel=1e-12)


def reordered(case: Case, space_name: str, shuffle: int) -> Case:
    """Put the same batch under a table whose leaves and classes stand in another order."""
    old, new = case.codebook.space, make_space(space_name, shuffle)
    names = [entry.abbreviation for entry in old.classes]
    classes = [names.index(entry.abbreviation) for entry in new.classes]
    channels = classes[: case.logits.shape[1]]
    assert channels != sorted(channels)
    place = {leaf.abbreviation: position for position, leaf in enumerate(new.leaves)}
    sets = [frozenset(place[old.leaves[k].abbreviation] for k in s) for s in case.codebook.sets]
    book = Codebook.build(new, sets)
    moved = torch.tensor([book.code(s) for s in sets], dtype=torch.uint8)
    return replace(
        case,
        codebook=book,
        logits=case.logits[:, channels],
        teacher=case.teacher[:, channels],
        peer=case.peer[:, channels],
        teacher_mean=case.teacher_mean[:, channels],
        codes=moved[case.codes.long()],
    )


@pytest.mark.parametrize(("name", "head", "settings"), every_variant())
def test_the_order_of_classes_changes_nothing(name, head, settings):
    case = make_case("overlapping", head, seed=8)
    other = reordered(case, "overlapping", shuffle=1)
    before, after = evaluate(name, case, settings), evaluate(name, other, settings)
    assert after.item() == pytest.approx(before.item(), rel=1e-9, abs=1e-12)
