from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neoseg.labels import UNKNOWN, Codebook, LabelError, LabelSpace, Protocol, hide_slices

TCV = frozenset([2, 3, 7])


def parse(space: LabelSpace, **row: Any) -> Protocol:
    return Protocol.parse(space, {"name": "p", **row})


def test_full_tells_every_leaf(drawem9: LabelSpace) -> None:
    assert Protocol.full(drawem9).sets == tuple(frozenset([k]) for k in range(10))
    assert parse(drawem9).sets == Protocol.full(drawem9).sets


def test_unlabelled_tells_nothing(drawem9: LabelSpace) -> None:
    assert set(Protocol.unlabelled(drawem9).sets) == {drawem9.everything}
    assert parse(drawem9, unlabelled=True).sets == Protocol.unlabelled(drawem9).sets


@pytest.mark.parametrize("merge", [["TCV"], [["cGM", 3, "Deep grey matter"]], ["tcv"]])
def test_merge_hides_the_children_only(drawem9: LabelSpace, merge: list[Any]) -> None:
    sets = parse(drawem9, merge=merge).sets
    assert all(sets[k] == (TCV if k in TCV else frozenset([k])) for k in range(10))


def test_the_paper_s_partial_label_as_membership(drawem9: LabelSpace) -> None:
    protocol = parse(drawem9, merge=["TCV"])
    book = Codebook.build(drawem9, protocol.sets)
    tcv = drawem9.class_position("TCV")
    inside = book.membership[book.code(protocol.sets[7])]
    assert inside[tcv] == 1
    assert {k: inside[k] for k in TCV} == dict.fromkeys(TCV, -1)
    outside = book.membership[book.code(protocol.sets[5])]
    assert outside[tcv] == 0
    assert {k: outside[k] for k in TCV} == dict.fromkeys(TCV, 0)
    assert outside[5] == 1


def test_a_missing_structure_shares_the_set_of_the_background(drawem9: LabelSpace) -> None:
    sets = parse(drawem9, missing=["dGM", "HA"]).sets
    hidden = frozenset([0, 7, 9])
    assert all(sets[k] == (hidden if k in hidden else frozenset([k])) for k in range(10))
    # Where background shows, the structure may be: absent is never told.
    book = Codebook.build(drawem9, sets)
    row = book.membership[book.code(sets[0])]
    assert [row[k] for k in (0, 7, 9)] == [-1, -1, -1]


def test_merge_and_missing_together(drawem9: LabelSpace) -> None:
    sets = parse(drawem9, merge=[["CSF", "VENT"]], missing=["BS"]).sets
    assert sets[1] == sets[5] == frozenset([1, 5])
    assert sets[0] == sets[8] == frozenset([0, 8])


@pytest.mark.parametrize("merge", [["TCV", ["cGM", "WM"]], [["cGM", "WM"], "TCV"]])
def test_of_nested_merges_the_larger_counts(drawem9: LabelSpace, merge: list[Any]) -> None:
    assert {parse(drawem9, merge=merge).sets[k] for k in TCV} == {TCV}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"merge": ["TCV", ["WM", "CSF"]]}, "overlap"),
        ({"merge": ["TCV"], "missing": ["dGM"]}, "overlap"),
        ({"merge": ["dGM"]}, "single leaf"),
        ({"missing": ["BG"]}, "single leaf"),
        ({"merge": ["cortex"]}, "cortex"),
        ({"missing": ["cortex"]}, "cortex"),
        ({"merge": "TCV"}, "merge"),
        ({"unlabelled": True, "merge": ["TCV"]}, "keep one"),
        ({"depth": 3}, "depth"),
        ({"name": ""}, "name"),
        ({"slices": {"share": 0}}, "slices.share"),
        ({"slices": {"share": 1.5}}, "slices.share"),
        ({"slices": {"plane": "oblique", "share": 0.5}}, "slices.plane"),
        ({"slices": {}}, "slices.share"),
    ],
)
def test_protocols_that_contradict_themselves(
    drawem9: LabelSpace, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        parse(drawem9, **row)


def test_apply_takes_the_union_over_a_foreign_label_set(drawem9: LabelSpace) -> None:
    protocol = parse(drawem9, merge=["TCV"])
    assert protocol.apply(frozenset([7])) == TCV
    assert protocol.apply(frozenset([6, 8])) == frozenset([6, 8])
    assert protocol.apply(frozenset([6, 7])) == TCV | {6}
    assert protocol.apply(drawem9.everything) == drawem9.everything


def test_tissues_of_the_87_structures(drawem87: LabelSpace) -> None:
    tissues = ["cGM", "WM", "VENT", "CBM", "dGM", "HA"]
    sets = parse(drawem87, merge=tissues).sets
    for name in tissues:
        assert {sets[k] for k in drawem87.label_set(name)} == {drawem87.label_set(name)}
    # Brainstem, CSF, the two backgrounds outside: 4 structures stay told.
    assert sum(len(s) == 1 for s in sets) == 4
    assert len(set(sets)) == 10


def test_every_slice_is_annotated_without_a_share(drawem9: LabelSpace) -> None:
    protocol = Protocol.full(drawem9)
    codes = np.ones((2, 3, 4), dtype=np.uint8)
    assert protocol.annotated_slices(4, [0]) is None
    hide_slices(codes, None, protocol.slice_axis)
    assert (codes == 1).all()


@pytest.mark.parametrize("spacing", ["even", "random"])
@pytest.mark.parametrize("length", [1, 7, 20, 203])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
def test_the_share_of_slices(drawem9: LabelSpace, spacing: str, length: int, share: float) -> None:
    protocol = parse(drawem9, slices={"share": share, "spacing": spacing})
    chosen = protocol.annotated_slices(length, [1, 2])
    assert chosen is not None
    assert chosen.shape == (length,)
    assert chosen.sum() == max(1, round(share * length))


def test_even_slices_are_equally_far_apart(drawem9: LabelSpace) -> None:
    chosen = parse(drawem9, slices={"share": 0.1}).annotated_slices(100, [0])
    assert np.flatnonzero(chosen).tolist() == list(range(5, 100, 10))


def test_random_slices_are_a_function_of_the_seed(drawem9: LabelSpace) -> None:
    protocol = parse(drawem9, slices={"share": 0.3, "spacing": "random"})
    draws = [protocol.annotated_slices(100, [seed, 4]) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize(("plane", "axis"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_hidden_slices_are_unknown_and_the_others_untouched(
    drawem9: LabelSpace, plane: str, axis: int
) -> None:
    protocol = parse(drawem9, slices={"plane": plane, "share": 0.5})
    codes = np.random.default_rng(0).integers(1, 11, (4, 6, 8), dtype=np.uint8)
    chosen = protocol.annotated_slices(codes.shape[axis], [0])
    assert chosen is not None
    hidden = codes.copy()
    assert protocol.slice_axis == axis
    hide_slices(hidden, chosen, axis)
    by_slice = np.moveaxis(hidden, axis, 0)
    np.testing.assert_array_equal(by_slice[chosen], np.moveaxis(codes, axis, 0)[chosen])
    assert (by_slice[~chosen] == UNKNOWN).all()


@pytest.mark.parametrize("key", ["merge", "missing"])
def test_names_that_yaml_reads_as_booleans_are_refused(drawem9: LabelSpace, key: str) -> None:
    with pytest.raises(LabelError, match="put the name in quotation marks"):
        Protocol.parse(drawem9, {"name": "x", key: [True, 2]})
