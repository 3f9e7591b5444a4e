from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import pytest

from neoseg.labels import LabelError, LabelSpace, LabelTable


def make_space(
    classes: Mapping[str, Sequence[int | str]],
    leaves: int = 6,
    mirror: Sequence[tuple[int, int]] = (),
    background: int | str = 0,
) -> LabelSpace:
    """Leaves with indices 10, 11, … and abbreviations a, b, …"""
    return LabelSpace.from_table(
        LabelTable.parse(
            {
                "name": "toy",
                "background": background if isinstance(background, str) else background + 10,
                "leaves": [
                    {
                        "index": i + 10,
                        "name": f"Leaf {chr(97 + i)}",
                        "abbreviation": chr(97 + i),
                        "color": "#000000",
                    }
                    for i in range(leaves)
                ],
                "classes": [
                    {"abbreviation": key, "name": f"Class {key}", "leaves": list(members)}
                    for key, members in classes.items()
                ],
                "mirror": mirror,
            }
        )
    )


def members(space: LabelSpace, name: str) -> str:
    return "".join(space.leaves[k].abbreviation for k in sorted(space.label_set(name)))


def test_the_first_classes_are_the_leaves_in_order() -> None:
    space = make_space({"X": ["b", "c"]})
    assert (space.num_leaves, space.num_classes) == (6, 7)
    assert [entry.leaves for entry in space.classes[:6]] == [frozenset([k]) for k in range(6)]
    expected = np.vstack([np.eye(6, dtype=bool), np.array([0, 1, 1, 0, 0, 0], dtype=bool)])
    np.testing.assert_array_equal(space.class_leaves, expected)
    assert space.everything == frozenset(range(6))


def test_members_are_indices_names_or_abbreviations_in_any_case() -> None:
    space = make_space({"X": [11, "LEAF C", "D"]})
    assert members(space, "x") == members(space, "class x") == "bcd"
    assert space.label_set([10, "x"]) == frozenset([0, 1, 2, 3])
    assert space.label_set("11") == frozenset([1])


@pytest.mark.parametrize("order", list(permutations(["OUT", "MID", "IN", "LAP"])))
def test_nested_and_overlapping_classes_in_any_order(order: tuple[str, ...]) -> None:
    rows = {"OUT": ["MID", "d"], "MID": ["IN", "c"], "IN": ["a", "b"], "LAP": ["IN", "e"]}
    space = make_space({key: rows[key] for key in order})
    assert [members(space, key) for key in ("OUT", "MID", "IN", "LAP")] == [
        "abcd",
        "abc",
        "ab",
        "abe",
    ]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"X": ["a", "zz"]}, "'Class X' has a member 'zz'"),
        ({"X": ["a", "Y"], "Y": ["b", "X"]}, "contains itself"),
        ({"X": ["a", "X"]}, "contains itself"),
        ({"X": ["a", "b"], "Y": ["b", "a"]}, "same set"),
        ({"X": ["a", "a"]}, "same set"),
        ({"X": ["a", "b"], "Y": ["X", "a"]}, "same set"),
    ],
)
def test_contradictions_between_classes(classes: dict[str, list[int | str]], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        make_space(classes)


def test_the_background_is_a_leaf() -> None:
    assert make_space({}, background="c").background == 2
    assert make_space({}, background=4).background == 4
    for wrong in ("zz", "X"):
        with pytest.raises(LabelError, match="is not a leaf"):
            make_space({"X": ["a", "b"]}, background=wrong)


def test_mirror_swaps_leaves_and_classes() -> None:
    space = make_space(
        {"L": ["b", "d"], "R": ["c", "e"], "ALL": ["L", "R"]}, mirror=[(11, 12), (14, 13)]
    )
    assert space.mirror == (0, 2, 1, 4, 3, 5)
    assert space.mirrored(frozenset([0, 1, 4])) == frozenset([0, 2, 3])
    assert space.class_mirror == (0, 2, 1, 4, 3, 5, 7, 6, 8)


def test_a_class_without_mirror_image_is_refused() -> None:
    with pytest.raises(LabelError, match="mirror image of 'Class L'"):
        make_space({"L": ["b", "d"]}, mirror=[(11, 12)])


def test_unknown_names_get_a_hint() -> None:
    space = make_space({"CORTEX": ["a", "b"]})
    with pytest.raises(LabelError, match="no leaf or class 'cortx'; did you mean 'cortex'"):
        space.label_set("cortx")
    with pytest.raises(LabelError, match="99"):
        space.label_set([10, 99])


def test_class_position() -> None:
    space = make_space({"X": ["b", "c"]})
    assert space.class_position("X") == 6
    assert space.class_position(12) == 2
    with pytest.raises(LabelError):
        space.class_position("Y")


def test_a_space_survives_pickling_and_is_hashable() -> None:
    space = make_space({"X": ["b", "c"]})
    copy = pickle.loads(pickle.dumps(space))
    assert copy == space
    assert hash(copy) == hash(space)
    assert copy.label_set("X") == space.label_set("X")
