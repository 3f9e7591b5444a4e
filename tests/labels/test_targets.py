"""Label volumes become codes: tensor in, tensor out, an item each by its own protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoseg.labels import UNKNOWN, Convention, LabelError, LabelSpace
from neoseg.labels.targets import Targets

COARSE = {"name": "coarse", "merge": ["LR"]}


def meanings(targets: Targets, codes: object) -> list[str]:
    return [targets.codebook.names[code] for code in np.asarray(codes).ravel()]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_indices_of_a_table_with_gaps_mean_what_the_table_says(
    space: LabelSpace, kind: type
) -> None:
    targets = Targets(space, [COARSE])
    labels = kind([0, 11, 12, 40])
    full, coarse = targets.encode(labels), targets.encode(labels, "coarse")
    assert type(full) is type(labels)
    assert (full.shape, str(full.dtype).removeprefix("torch.")) == (labels.shape, "uint8")
    assert meanings(targets, full) == ["BG", "L", "R", "CSF"]
    assert meanings(targets, coarse) == ["BG", "LR", "LR", "CSF"]
    assert set(np.asarray(targets.encode(labels, "unlabelled"))) == {UNKNOWN}


def test_each_item_of_a_batch_has_a_protocol_of_its_own(space: LabelSpace) -> None:
    targets = Targets(space, [COARSE])
    labels = torch.tensor([[11, 40], [11, 40], [11, 40]])
    codes = targets.encode(labels, ["coarse", "full", "unlabelled"])
    assert meanings(targets, codes) == ["LR", "CSF", "L", "CSF", "unknown", "unknown"]


def test_half_precision_and_nothing(space: LabelSpace) -> None:
    targets = Targets(space)
    codes = targets.encode(torch.tensor([0, 11, 40], dtype=torch.bfloat16))
    assert meanings(targets, codes) == ["BG", "L", "CSF"]
    with pytest.raises(LabelError, match=r"the label volume is empty: \[0, 3\]"):
        targets.encode(torch.zeros(0, 3))


def test_a_value_outside_the_table_is_an_error_and_not_unknown(space: LabelSpace) -> None:
    with pytest.raises(LabelError, match=r"values outside the table 'tiny': 1, 41 \(2 voxels\)"):
        Targets(space).encode(np.array([0, 1, 41]))


def test_integers_of_another_convention(space: LabelSpace) -> None:
    convention = Convention.from_mapping(space, {0: 0, 1: ["L", "R"], 2: 40, 3: None})
    targets = Targets(space, convention=convention)
    codes = targets.encode(np.array([3, 2, 1, 0], dtype=np.float32))
    assert meanings(targets, codes) == ["unknown", "CSF", "LR", "BG"]


def test_a_protocol_with_integers_of_its_own(space: LabelSpace) -> None:
    own = {"name": "lab2", "describes": True, "convention": {0: 0, 7: ["L", "R"], 11: "CSF"}}
    targets = Targets(space, [own])
    codes = targets.encode(torch.tensor([[0, 7, 11], [0, 11, 40]]), ["lab2", "full"])
    assert meanings(targets, codes) == ["BG", "LR", "CSF", "BG", "L", "CSF"]
    with pytest.raises(LabelError, match=r"40 \(1 voxels\)"):
        targets.encode(np.array([40]), "lab2")


def test_slices_without_annotation_are_unknown(space: LabelSpace) -> None:
    every_other = {"name": "some", "slices": {"plane": "sagittal", "share": 0.5}}
    targets = Targets(space, [every_other])
    codes = targets.encode(np.full((4, 2, 2), 40), "some")
    assert [meanings(targets, plane)[0] for plane in codes].count("CSF") == 2
    with pytest.raises(LabelError, match="found \\[4, 2\\]"):
        targets.encode(np.full((4, 2), 40), "some")


def test_what_cannot_be_is_told(space: LabelSpace) -> None:
    targets = Targets(space, [COARSE])
    with pytest.raises(LabelError, match="no protocol 'corse'; it can be full, unlabelled, coarse"):
        targets.encode(np.zeros(3), "corse")
    with pytest.raises(LabelError, match="2 protocols were given for 3 items"):
        targets.encode(np.zeros((3, 1)), ["full", "coarse"])
    with pytest.raises(LabelError, match="called coarse"):
        Targets(space, [COARSE, COARSE])


def test_what_a_convention_has_no_integer_for_may_be_in_the_background(space: LabelSpace) -> None:
    lacking = space.num_leaves - 1
    values = {leaf.index: leaf.index for leaf in space.leaves[:lacking]}
    targets = Targets(space, convention=Convention.from_mapping(space, values))
    code = int(targets.encode(np.array([space.leaves[space.background].index]))[0])
    assert targets.codebook.sets[code] == {space.background, lacking}
