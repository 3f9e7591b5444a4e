"""Label volumes of masks, against the leaves that fit all masks, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

from neoseg.labels import LabelSet, LabelSpace, LabelTable
from neoseg.labels.masks import combine, integers_of

ROWS = ["BG", "spleen", "liver_tissue", "liver_tumour", "left", "right"]
WHOLE = {"liver": ["liver_tissue", "liver_tumour"], "kidney": ["left", "right"]}


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    leaves = [{"index": 2 * n, "name": name, "abbreviation": name} for n, name in enumerate(ROWS)]
    classes = [{"abbreviation": k, "name": k, "leaves": parts} for k, parts in WHOLE.items()]
    table = {"name": "organs", "background": 0, "leaves": leaves, "classes": classes}
    return LabelSpace.from_table(LabelTable.model_validate(table))


def masks_of(space: LabelSpace, **voxels: list[int]) -> list[tuple[LabelSet, np.ndarray]]:
    """Return a mask of 6 voxels for each structure."""
    return [
        (space.label_set(name), np.isin(np.arange(6), inside).reshape(6, 1, 1))
        for name, inside in voxels.items()
    ]


def test_voxels_get_the_smallest_class_that_fits_every_mask(space: LabelSpace) -> None:
    rng = np.random.default_rng(0)
    names = [*ROWS[1:], *WHOLE]
    integers = integers_of(space)
    for _ in range(40):
        truth = rng.integers(0, len(ROWS), (5, 4, 3))
        drawn = [names[n] for n in rng.permutation(len(names))[: rng.integers(1, len(names) + 1)]]
        masks = [(s := space.label_set(name), np.isin(truth, list(s))) for name in drawn]
        combined = combine(space, masks)
        assert not combined.contradictions
        for place in np.ndindex(truth.shape):
            fits = {
                leaf
                for leaf in space.everything
                if all((leaf in leaves) == inside[place] for leaves, inside in masks)
            }
            if space.background in fits:
                assert fits == combined.undrawn | {space.background}
                expected = frozenset([space.background])
            else:
                larger = [entry.leaves for entry in space.classes if fits <= entry.leaves]
                expected = min(larger, key=len, default=space.everything)
            assert combined.labels[place] == integers[expected]


def test_masks_that_contradict_each_other_leave_a_voxel_open(space: LabelSpace) -> None:
    kidneys = combine(space, masks_of(space, left=[0, 1], right=[1, 2]))
    assert kidneys.labels.ravel().tolist() == [8, 12, 10, 0, 0, 0]  # 12: either kidney
    assert kidneys.contradictions == {"left and right": 1}
    apart = combine(space, masks_of(space, spleen=[0, 1], left=[1]))
    assert apart.labels.ravel().tolist() == [2, 13, 0, 0, 0, 0]  # 13: not annotated
    part = combine(space, masks_of(space, liver=[0, 1], liver_tumour=[1, 2]))
    assert part.labels.ravel().tolist() == [4, 6, 6, 0, 0, 0]
    assert part.contradictions == {"liver_tumour without liver": 1}
    whole = combine(space, masks_of(space, liver=[0, 1], liver_tumour=[1], liver_tissue=[]))
    assert whole.labels.ravel().tolist() == [11, 6, 0, 0, 0, 0]
    assert whole.contradictions == {"liver in none of its parts": 1}


def test_several_masks_of_one_structure_are_its_parts(space: LabelSpace) -> None:
    lobes = masks_of(space, liver=[0, 1]) + masks_of(space, liver=[1, 2], left=[3])
    combined = combine(space, lobes)
    assert combined.labels.ravel().tolist() == [11, 11, 11, 8, 0, 0]
    assert not combined.contradictions


def test_an_empty_mask_is_drawn_and_a_missing_one_is_not(space: LabelSpace) -> None:
    combined = combine(space, masks_of(space, spleen=[], left=[0]))
    assert combined.undrawn == space.label_set(["liver", "right"])
    assert combined.labels.dtype == np.uint8
    with pytest.raises(ValueError, match="no masks"):
        combine(space, [])
    with pytest.raises(ValueError, match="shapes"):
        combine(space, [(space.label_set("left"), np.ones((n, 1, 1), bool)) for n in (1, 2)])
