from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from neoseg.labels import MAX_CODES, UNKNOWN, Codebook, LabelError, LabelSpace, LabelTable

SPACES = ["drawem9", "drawem87", "fidon8"]


def random_sets(space: LabelSpace, number: int, seed: int) -> list[frozenset[int]]:
    rng = random.Random(seed)
    return [
        frozenset(rng.sample(range(space.num_leaves), rng.randint(1, space.num_leaves)))
        for _ in range(number)
    ]


@pytest.mark.parametrize("name", SPACES)
def test_unknown_and_single_leaves_come_first(name: str, request: pytest.FixtureRequest) -> None:
    space = request.getfixturevalue(name)
    book = Codebook.build(space)
    assert book.size == space.num_leaves + 1
    assert book.sets[UNKNOWN] == space.everything
    assert all(book.sets[k + 1] == frozenset([k]) for k in range(space.num_leaves))


def test_the_order_of_the_sets_does_not_matter(drawem87: LabelSpace) -> None:
    sets = random_sets(drawem87, 20, seed=1)
    books = []
    for seed in range(5):
        random.Random(seed).shuffle(sets)
        books.append(Codebook.build(drawem87, [*sets, sets[0]]).sets)
    assert len(set(books)) == 1


def test_merged_rows_are_distinct_and_single_leaves_are_not_repeated(drawem9: LabelSpace) -> None:
    merged = frozenset([2, 3, 7])
    book = Codebook.build(
        drawem9, [merged, frozenset([3]), drawem9.everything, merged, frozenset([1, 4])]
    )
    assert book.sets[11:] == (frozenset([1, 4]), merged)
    assert book.code(merged) == 12
    assert book.code(drawem9.everything) == UNKNOWN


@pytest.mark.parametrize("seed", range(3))
def test_closed_under_mirroring(drawem87: LabelSpace, seed: int) -> None:
    book = Codebook.build(drawem87, random_sets(drawem87, 15, seed))
    assert book.mirror.dtype == np.uint8
    np.testing.assert_array_equal(book.mirror[book.mirror], np.arange(book.size))
    for code, leaves in enumerate(book.sets):
        assert book.sets[book.mirror[code]] == drawem87.mirrored(leaves)
    # The membership of a flipped voxel is the membership of the voxel with flipped classes.
    np.testing.assert_array_equal(
        book.membership[book.mirror], book.membership[:, list(drawem87.class_mirror)]
    )


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", range(3))
def test_membership_against_brute_force(
    name: str, seed: int, request: pytest.FixtureRequest
) -> None:
    space = request.getfixturevalue(name)
    book = Codebook.build(space, random_sets(space, 12, seed))
    assert book.membership.shape == (book.size, space.num_classes)
    assert book.membership.dtype == np.int8
    for code, leaves in enumerate(book.sets):
        for position, entry in enumerate(space.classes):
            # In and out are what holds for each of the leaves that the voxel may be.
            possible = {leaf in entry.leaves for leaf in leaves}
            expected = -1 if len(possible) == 2 else int(possible.pop())
            assert book.membership[code, position] == expected, (leaves, entry.abbreviation)


def test_a_class_of_all_leaves_is_always_in() -> None:
    table = LabelTable.parse(
        {
            "name": "toy",
            "background": 0,
            "leaves": [
                {"index": i, "name": f"n{i}", "abbreviation": f"a{i}", "color": "#000000"}
                for i in range(3)
            ],
            "classes": [{"name": "Everything", "abbreviation": "ALL", "leaves": [0, 1, 2]}],
        }
    )
    book = Codebook.build(LabelSpace.from_table(table))
    assert book.membership[UNKNOWN].tolist() == [-1, -1, -1, 1]


def test_rows_are_the_leaves_that_a_code_allows(drawem9: LabelSpace) -> None:
    book = Codebook.build(drawem9, [frozenset([2, 3, 7])])
    assert book.rows.shape == (book.size, drawem9.num_leaves)
    for code, leaves in enumerate(book.sets):
        assert frozenset(np.flatnonzero(book.rows[code])) == leaves


def test_lookup_maps_positions_to_codes(drawem9: LabelSpace) -> None:
    merged = frozenset([2, 3, 7])
    book = Codebook.build(drawem9, [merged])
    table = book.lookup([frozenset([5]), merged, drawem9.everything])
    assert table.dtype == np.uint8
    assert table.shape == (MAX_CODES,)
    assert table[:3].tolist() == [6, 11, UNKNOWN]
    assert not table[3:].any()


def test_a_set_that_is_not_there_is_named(drawem9: LabelSpace) -> None:
    with pytest.raises(LabelError, match=r"\{cGM, WM\}"):
        Codebook.build(drawem9).code(frozenset([2, 3]))


def test_empty_sets_are_refused(drawem9: LabelSpace) -> None:
    with pytest.raises(LabelError, match="empty"):
        Codebook.build(drawem9, [frozenset()])


def test_at_most_256_rows(drawem9: LabelSpace) -> None:
    pairs = [frozenset(s) for n in (2, 3, 4) for s in combinations(range(10), n)]
    room = MAX_CODES - 11
    assert Codebook.build(drawem9, pairs[:room]).size == MAX_CODES
    with pytest.raises(LabelError, match="257 distinct"):
        Codebook.build(drawem9, pairs[: room + 1])


def test_sets_have_short_names(drawem9: LabelSpace) -> None:
    names = {leaf.abbreviation: k for k, leaf in enumerate(drawem9.leaves)}
    everything, tcv = drawem9.everything, drawem9.label_set("TCV")
    few = frozenset([names["cGM"], names["WM"]])
    several = frozenset(sorted(everything)[::2])
    background = frozenset([drawem9.background])
    book = Codebook.build(drawem9, [tcv, few, everything - few, everything - tcv, several])
    told = {book.sets[code]: name for code, name in enumerate(book.names)}
    assert told[everything] == "unknown"
    assert told[background] == drawem9.leaves[drawem9.background].abbreviation
    assert told[tcv] == "TCV"
    assert told[few] == "cGM or WM"
    assert told[everything - few] == "not cGM or WM"
    assert told[several] == f"one of {len(several)}"
