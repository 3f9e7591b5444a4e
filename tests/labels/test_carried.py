from __future__ import annotations

import pytest

from neoseg.labels import LabelError, LabelSpace, LabelTable
from neoseg.labels.carried import Carried, carried, translated


def space(leaves: str, **classes: list[str]) -> LabelSpace:
    """Leaves by abbreviation, the first of them background; classes by theirs."""
    rows = [
        {"index": n, "name": f"{name} of {leaves}", "abbreviation": name, "color": "#000000"}
        for n, name in enumerate(leaves.split())
    ]
    more = [
        {"abbreviation": k, "name": f"{k} of {leaves}", "leaves": v} for k, v in classes.items()
    ]
    raw = {"name": "t", "background": 0, "leaves": rows, "classes": more}
    return LabelSpace.from_table(LabelTable.parse(raw))


def test_names_count_and_integers_do_not() -> None:
    found = carried(space("BG a b"), space("bg2 B A"))
    assert found == (Carried("same", (0,)), Carried("same", (2,)), Carried("same", (1,)))


def test_parts_start_from_the_leaf_that_was_split() -> None:
    found = carried(space("BG HIP x"), space("BG ANT POST x", HIP=["ANT", "POST"]))
    part = Carried("split", (1,), 2)
    assert found == (
        Carried("same", (0,)),
        part,
        part,
        Carried("same", (2,)),
        Carried("same", (1,)),
    )


def test_parts_start_from_the_smallest_class_around_them() -> None:
    new = space("BG a b c", IN=["a", "b"], OUT=["IN", "c"])
    found = carried(space("BG in c", OUT=["in", "c"]), new)
    assert found[1] == found[2] == Carried("split", (1,), 2)
    assert found[new.class_position("OUT")] == Carried("same", (3,))


def test_a_class_is_what_its_leaves_were_together() -> None:
    old = space("BG a b c", PAIR=["a", "b"])
    new = space("BG a b c", both=["b", "a"], other=["b", "c"])
    assert carried(old, new)[4:] == (Carried("same", (4,)), Carried("merged", (2, 3)))


def test_what_is_told_counts_more_than_names() -> None:
    old, new = space("BG a b"), space("BG ab c")
    assert carried(old, new)[1:] == (Carried("new"), Carried("new"))
    told = carried(old, new, {"ab": ("a", "b"), "c": "b"})
    assert told[1:] == (Carried("merged", (1, 2)), Carried("same", (2,)))
    with pytest.raises(LabelError, match="'q'"):
        carried(old, new, {"ab": "q"})
    with pytest.raises(LabelError, match="'q'"):
        carried(old, new, {"q": "a"})


def test_what_an_old_network_says_of_a_voxel() -> None:
    old, new = space("BG HIP gone"), space("BG ANT POST lesion", HIP=["ANT", "POST"])
    assert translated(old, new) == (frozenset({0, 3}), frozenset({1, 2}), frozenset())
    told = translated(old, new, {"lesion": ("BG", "HIP")})
    assert told == (frozenset({0, 3}), frozenset({1, 2, 3}), frozenset())
