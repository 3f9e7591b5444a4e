from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from neoseg.labels import UNKNOWN, Codebook, LabelSpace, Protocol
from neoseg.training.agreement import class_dice, mean_of_classes, names_leaves


@pytest.fixture
def codebook(drawem9: LabelSpace) -> Codebook:
    sets = [
        *Protocol.parse(drawem9, {"name": "a", "merge": ["TCV"]}).sets,
        *Protocol.parse(drawem9, {"name": "b", "missing": ["CSF"]}).sets,
    ]
    return Codebook.build(drawem9, sets)


def brute(leaves: np.ndarray, codes: np.ndarray, codebook: Codebook) -> list[float]:
    """One voxel and class at a time, from the definition."""
    result = []
    for entry in codebook.space.classes:
        both = predicted = true = undecided = 0
        for leaf, code in zip(leaves.ravel().tolist(), codes.ravel().tolist(), strict=True):
            told = codebook.sets[code]
            if told & entry.leaves and not told <= entry.leaves:
                undecided += 1
                continue  # open: the annotation does not say
            is_true, is_predicted = told <= entry.leaves, leaf in entry.leaves
            both += is_true and is_predicted
            predicted += is_predicted
            true += is_true
        known = predicted + true > 0 and (true > 0 or not undecided)
        result.append(2 * both / (predicted + true) if known else math.nan)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_dice_over_the_voxels_that_are_known(codebook: Codebook, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, codebook.size, (6, 7, 8)).astype(np.uint8)
    leaves = rng.integers(0, codebook.space.num_leaves, (6, 7, 8)).astype(np.uint8)
    if seed == 1:  # classes that neither has
        codes[np.isin(codes, [9, 10])] = UNKNOWN
        leaves[leaves >= 8] = 0
    found = class_dice(torch.from_numpy(leaves), torch.from_numpy(codes), codebook)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, brute(leaves, codes, codebook), rtol=1e-12)
    assert bool(found.isnan().any()) == (seed == 1)


@pytest.mark.parametrize(
    ("leaves", "codes", "message"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 4).int(), "leaves are torch.float32"),
        (torch.zeros(2, 3, 4).int(), torch.zeros(1, 3, 4).int(), r"\(2, 3, 4\) and codes \(1, 3"),
        (torch.full((2, 3, 4), 10), torch.zeros(2, 3, 4).int(), "leaves hold 10 to 10, expected 0"),
        (torch.zeros(2, 3, 4).int(), torch.full((2, 3, 4), 99), "codes hold 99 to 99"),
        (torch.full((2, 3, 4), -1), torch.zeros(2, 3, 4).int(), "leaves hold -1"),
    ],
)
def test_what_is_no_segmentation_has_no_dice(
    codebook: Codebook, leaves: Tensor, codes: Tensor, message: str
) -> None:
    """Volumes that broadcast and codes beyond the last would give a number."""
    with pytest.raises(ValueError, match=message):
        class_dice(leaves, codes, codebook)


def test_a_perfect_prediction_has_one_everywhere(codebook: Codebook) -> None:
    leaves = torch.arange(10, dtype=torch.uint8).repeat(3)[:, None, None]
    codes = leaves + 1
    dice = class_dice(leaves, codes, codebook)
    torch.testing.assert_close(dice, torch.ones(11, dtype=torch.float64))


def test_without_any_knowledge_there_is_no_score(codebook: Codebook) -> None:
    leaves = torch.zeros((3, 3, 3), dtype=torch.uint8)
    codes = torch.full((3, 3, 3), UNKNOWN, dtype=torch.uint8)
    assert class_dice(leaves, codes, codebook).isnan().all()


def test_hidden_children_do_not_count_but_their_parent_does(codebook: Codebook) -> None:
    space = codebook.space
    merged = codebook.code(space.label_set("TCV"))
    codes = torch.full((4, 1, 1), merged, dtype=torch.uint8)
    leaves = torch.tensor([2, 3, 7, 0], dtype=torch.uint8)[:, None, None]
    dice = class_dice(leaves, codes, codebook)
    assert dice[[2, 3, 7]].isnan().all()
    assert dice[space.class_position("TCV")] == pytest.approx(2 * 3 / (3 + 4))
    assert dice[0] == 0.0  # predicted where the annotation says it is not


def test_a_hidden_class_has_no_dice_and_leaves_the_mean(codebook: Codebook) -> None:
    space = codebook.space
    names = [entry.abbreviation for entry in space.classes]
    cerebrum = space.class_position("TCV")
    merged = next(n for n, s in enumerate(codebook.sets) if s == space.classes[cerebrum].leaves)
    codes = torch.full((4, 4, 4), merged, dtype=torch.uint8)
    leaves = torch.full((4, 4, 4), names.index("WM"))
    leaves[0] = names.index("CSF")  # where the annotation knows that it is not
    dice = class_dice(leaves, codes, codebook)
    assert dice[names.index("WM")].isnan()
    assert dice[names.index("CSF")] == 0
    assert dice[cerebrum] == pytest.approx(2 * 48 / (48 + 64))
    assert mean_of_classes(dice, space, leaves=True) == 0  # of CSF, which is known to be absent
    assert mean_of_classes(dice, space, leaves=False) == dice[cerebrum]
    assert not names_leaves(codes, codebook)
    codes[0] = codebook.sets.index(frozenset([names.index("CSF")]))
    assert names_leaves(codes, codebook)


def test_without_leaves_the_mean_is_over_super_classes(codebook: Codebook) -> None:
    space = codebook.space
    dice = torch.full((space.num_classes,), torch.nan)
    dice[space.background] = 1.0
    dice[space.class_position("TCV")] = 0.75
    assert mean_of_classes(dice, space, leaves=False) == 0.75
