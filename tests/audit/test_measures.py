"""What is measured of a scan whose labels are wrong in one known way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from neoseg.audit.borders import displacement, exchanges
from neoseg.audit.evidence import Doubter, Evidence, spot
from neoseg.audit.measure import Measure
from neoseg.audit.structures import coarse, of_structure
from neoseg.audit.swaps import BOTH, exchanged, swaps
from neoseg.commands.audit import measured
from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.store import Geometry

COLOURS = ("#000000", "#ff0000", "#00ff00", "#0000ff")
TABLE = LabelTable.parse(
    {
        "name": "heads",
        "background": "BG",
        "leaves": [
            {"index": n, "name": f"the {name}", "abbreviation": name, "color": colour}
            for n, (name, colour) in enumerate(zip(("BG", "L", "R", "M"), COLOURS, strict=True))
        ],
        "classes": [{"abbreviation": "LR", "name": "both", "leaves": ["L", "R"]}],
        "mirror": [[1, 2]],
    }
)
SPACE = LabelSpace.from_table(TABLE)
BOOK = Codebook.build(SPACE, [frozenset({1, 2})])
MERGED = BOOK.code(frozenset({1, 2}))


def head() -> np.ndarray:
    """Leaves: L and R beside each other, M above both; 16 voxels along each axis."""
    leaves = np.zeros((16, 16, 16), dtype=np.uint8)
    leaves[2:8, 3:12, 3:8] = 1
    leaves[8:14, 3:12, 3:8] = 2
    leaves[2:14, 3:12, 8:12] = 3
    return leaves


def against(codes: np.ndarray, leaves: np.ndarray | None = None) -> Evidence:
    """An annotation beside a network that is right and sure."""
    leaves = head() if leaves is None else leaves
    doubt = np.where(BOOK.rows[codes, leaves], 0.0, 1.0).astype(np.float16)
    return Evidence(codes.astype(np.uint8), leaves, doubt, (1.0, 1.0, 2.0), 0.002, BOOK)


def structure(seen: Evidence, leaf: int, kind: str) -> Measure:
    """One measure of a structure, its place that of the whole scan."""
    part, corner = next((p, c) for k, p, c in seen.structures() if k == leaf)
    return next(m.moved(corner) for m in of_structure(part, leaf) if m.kind == kind)


def test_right_labels_show_nothing() -> None:
    found = measured(against(head() + 1))
    assert {m.kind for m in found} == {
        *("swap", "not_drawn", "slices", "shift", "border", "island", "contradiction")
    }
    assert all(m.value == 0 for m in found)


def test_an_exchange_of_sides_is_seen_as_a_whole_and_by_pair() -> None:
    codes = np.array([1, 3, 2, 4], dtype=np.uint8)[head()]
    (whole,) = swaps(against(codes))
    assert (whole.structure, whole.value, whole.leaves) == (BOTH, 1.0, (1, 2))
    codes = head() + 1
    codes[2:4, 3:12, 3:8] = 3  # a third of L
    whole, pair = swaps(against(codes))
    assert whole.value == pair.value == pytest.approx(1 / 6)
    assert pair.structure == "L and R"
    alone = np.where(codes > 3, codes, 1).astype(np.uint8)  # nobody drew a side
    assert next(iter(swaps(against(alone)))).value == 0


def test_two_structures_that_carry_each_others_label() -> None:
    codes = np.array([1, 4, 3, 2], dtype=np.uint8)[head()]  # L and M, which are no sides
    found = {measure.structure: measure for measure in exchanged(against(codes))}
    assert found.keys() == {"L", "R", "M"}
    assert found["L"].value == found["M"].value == 1.0
    assert set(found["L"].leaves) == set(found["M"].leaves) == {1, 3}
    assert "carries the label of M" in found["L"].note
    assert head()[found["L"].place] in (1, 3)
    assert found["R"].value == 0
    sides = np.array([1, 3, 2, 4], dtype=np.uint8)[head()]
    assert all(measure.value == 0 for measure in exchanged(against(sides)))  # told by `swaps`
    codes = head() + 1
    codes[codes == 4] = 2  # M is part of L: one way only
    assert all(measure.value == 0 for measure in exchanged(against(codes)))


def test_a_structure_that_was_not_drawn() -> None:
    codes = head() + 1
    codes[codes == 4] = 1
    found = structure(against(codes), 3, "not_drawn")
    assert found.value == 1
    assert found.volume == pytest.approx(12 * 9 * 4 * 2 / 1000)
    assert head()[found.place] == 3
    assert structure(against(codes), 1, "not_drawn").value == 0


def test_what_an_annotation_leaves_open_is_no_contradiction() -> None:
    leaves = head()
    codes = leaves + 1
    codes[np.isin(leaves, (1, 2))] = MERGED
    seen = against(codes)
    assert structure(seen, 1, "contradiction").value == 0
    assert structure(seen, 1, "not_drawn").value == 0
    (found,) = coarse(seen)
    assert (found.structure, found.value) == ("LR", 0)
    codes[2:14, 3:12, 8:9] = MERGED  # a plane of M, which is not among the two
    (found,) = coarse(against(codes))
    assert found.value == pytest.approx(1 / 6)
    assert found.place[2] == 8
    codes[:] = 0
    assert all(m.value == 0 for m in measured(against(codes)))


def test_a_contradiction_has_its_volume_and_place() -> None:
    codes = head() + 1
    codes[2:5, 3:6, 8:11] = 1
    found = structure(against(codes), 3, "contradiction")
    assert found.volume == pytest.approx(27 * 2 / 1000)
    assert found.place == (3, 4, 9)
    assert "0 ml too much, 0.054 ml too little" in found.note
    unsure = against(codes)
    unsure.doubt[:] = 0.6
    assert structure(unsure, 3, "contradiction").value == 0


def test_slices_between_others_are_forgotten_and_those_at_the_end_are_not() -> None:
    codes = head() + 1
    codes[:, 5:7] = 1
    found = structure(against(codes), 1, "slices")
    assert found.value == 2
    assert found.place[1] in (5, 6)
    codes = head() + 1
    codes[:, 3:5] = 1
    assert structure(against(codes), 1, "slices").value == 0


def test_an_island_is_small_far_and_unseen() -> None:
    codes = head() + 1
    codes[0:2, 14:16, 14:16] = 2
    found = structure(against(codes), 1, "island")
    assert found.value == 8
    assert found.place[1] >= 14
    assert structure(against(codes), 1, "slices").value == 0  # nor does it stretch the structure
    leaves = head()
    leaves[0:2, 14:16, 14:16] = 1
    assert structure(against(codes, leaves), 1, "island").value == 0


def test_displaced_labels_and_their_direction() -> None:
    codes = np.roll(head() + 1, 2, axis=1)
    found = {m.structure: m for m in displacement(against(codes))}
    assert found["back-front"].value == pytest.approx(2)
    assert found["left-right"].value == found["down-up"].value == 0
    assert "2 mm further front" in found["back-front"].note


def test_a_moved_border_in_voxels_and_not_a_displacement_of_all() -> None:
    codes = head() + 1
    codes[2:14, 3:12, 8:9] = codes[2:14, 3:12, 7:8]  # M gives a plane to L and R
    seen = against(codes)
    found = {m.structure: m.value for m in exchanges(seen)}
    assert found["L and M"] == found["R and M"] == pytest.approx(1)
    assert found["L and R"] == found["M and BG"] == 0
    assert found["outline"] == 0
    assert all(m.value == 0 for m in displacement(seen))


def test_an_outline_drawn_further_in() -> None:
    leaves = head()
    codes = np.where(ndimage.binary_erosion(leaves > 0), leaves, 0) + 1
    found = {m.structure: m for m in exchanges(against(codes))}
    assert -1.1 < found["outline"].value < -0.7
    assert "mm further in" in found["outline"].note
    assert all(abs(m.value) < 0.1 for m in displacement(against(codes)))


def test_doubt_is_what_is_outside_of_the_annotation() -> None:
    grid = Geometry((2, 1, 2), tuple(map(tuple, np.eye(4))), (2, 1, 2), (), (2, 1, 2), ())
    codes = np.array([[[2, MERGED]], [[0, 2]]], dtype=np.uint8)
    doubter = Doubter(BOOK, lambda geometry: codes)
    piece = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None, None].expand(4, 1, 1, 2)
    doubter(piece, (slice(0, 1), slice(0, 1), slice(0, 2)), grid)
    np.testing.assert_allclose(doubter.doubt[0, 0], [0.8, 0.5], atol=1e-3)
    np.testing.assert_array_equal(doubter.doubt[1, 0], [0, 1])  # beyond the head: background


def test_a_place_is_told_in_the_files_own_voxels() -> None:
    affine = ((-2.0, 0.0, 0.0, 10.0), (0.0, 0.0, 1.0, 5.0), (0.0, 3.0, 0.0, 0.0), (0, 0, 0, 1.0))
    grid = Geometry((6, 7, 8), affine, (6, 8, 7), (), (6, 8, 7), ())
    voxel, world = spot((1, 2, 3), grid)
    assert voxel == (4, 3, 2)
    np.testing.assert_allclose(world, (np.array(affine) @ [*voxel, 1])[:3])
