from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neoseg.labels import Codebook, LabelSpace, LabelTable

CONF = Path(__file__).resolve().parents[2] / "conf" / "labels"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_table_can_be_used(path: Path) -> None:
    space = LabelSpace.from_table(LabelTable.read(path))
    assert space.name == path.stem
    assert space.leaves[space.background].index == 0
    assert space.mirror[space.background] == space.background
    assert len({leaf.color.casefold() for leaf in space.leaves}) == space.num_leaves
    assert Codebook.build(space, [entry.leaves for entry in space.classes]).size <= 256


@pytest.mark.parametrize(
    ("name", "leaves", "classes"), [("drawem9", 10, 11), ("drawem87", 88, 103), ("fidon8", 9, 12)]
)
def test_sizes(name: str, leaves: int, classes: int, request: pytest.FixtureRequest) -> None:
    space = request.getfixturevalue(name)
    assert (space.num_leaves, space.num_classes) == (leaves, classes)
    assert [leaf.index for leaf in space.leaves] == list(range(leaves))


def indices(space: LabelSpace, name: str) -> set[int]:
    return {space.leaves[k].index for k in space.label_set(name)}


def test_total_cerebral_volume_is_the_paper_s(drawem9: LabelSpace) -> None:
    assert indices(drawem9, "TCV") == {2, 3, 7}


def test_tissues_part_the_87_structures(drawem87: LabelSpace) -> None:
    tissues = [drawem87.label_set(n) for n in ("cGM", "WM", "VENT", "CBM", "dGM", "HA")]
    tissues += [drawem87.label_set(n) for n in ("CSF", "BKG", "BSTEM", "BG")]
    assert sum(map(len, tissues)) == 88
    assert frozenset().union(*tissues) == drawem87.everything
    # Counts of the DrawEM table: 32 cortical, 32 white matter and the callosum, 11 deep grey.
    assert [len(t) for t in tissues] == [32, 33, 2, 2, 11, 4, 1, 1, 1, 1]
    assert 85 in indices(drawem87, "dGM")
    assert 48 in indices(drawem87, "WM")


def test_the_sides_of_the_87_structures(drawem87: LabelSpace) -> None:
    for leaf, other in zip(drawem87.leaves, drawem87.mirror, strict=True):
        partner = drawem87.leaves[other]
        swapped = {"L": "R", "R": "L"}.get(leaf.abbreviation[-1])
        if leaf.abbreviation[-2:] in ("_L", "_R"):
            assert partner.abbreviation == f"{leaf.abbreviation[:-1]}{swapped}"
            assert ("left" in leaf.name) == leaf.abbreviation.endswith("_L")
            assert ("right" in leaf.name) == leaf.abbreviation.endswith("_R")
        else:
            assert partner is leaf
    # Parity does not tell the side.
    side: dict[int, Any] = {leaf.index: leaf.abbreviation[-1] for leaf in drawem87.leaves}
    expected = {1: "L", 17: "L", 20: "R", 46: "R", 49: "L", 51: "L", 63: "R", 86: "R", 87: "L"}
    assert {index: side[index] for index in expected} == expected


def test_hemispheres_are_the_sided_structures_above_the_tentorium(drawem87: LabelSpace) -> None:
    for name, end in (("HEMI_L", "_L"), ("HEMI_R", "_R")):
        sided = {leaf.index for leaf in drawem87.leaves if leaf.abbreviation.endswith(end)}
        assert sided - indices(drawem87, name) == indices(drawem87, "CBM") & sided | (
            indices(drawem87, "VENT") & sided
        )
        assert indices(drawem87, name) <= sided


def test_white_matter_of_a_gyrus_goes_with_its_cortex(drawem87: LabelSpace) -> None:
    abbreviations = {leaf.index: leaf.abbreviation for leaf in drawem87.leaves}
    for name in ("TEMP", "STG", "MITG", "FUS", "CING", "PHG"):
        found = {abbreviations[i] for i in indices(drawem87, name)}
        assert {n.replace("_GM_", "_WM_") for n in found if "_GM_" in n} == {
            n for n in found if "_WM_" in n
        }
    for part in ("STG", "MITG", "FUS", "PHG"):
        assert indices(drawem87, part) < indices(drawem87, "TEMP")


def test_the_published_label_sets_of_the_fetal_atlas(fidon8: LabelSpace) -> None:
    assert indices(fidon8, "GM_BS") == {5, 6, 7}
    assert indices(fidon8, "GM_BS_CC") == {5, 6, 7, 8}
    assert indices(fidon8, "GM_BS_CC_CSF") == {4, 5, 6, 7, 8}
