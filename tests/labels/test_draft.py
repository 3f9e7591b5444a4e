"""A label table that is made of names: pairs, classes, and what a command line can call them."""

from __future__ import annotations

import pytest
import yaml
from omegaconf import OmegaConf

from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.draft import Named, Region, draft, mirror_pairs, one_sided, written


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Left-Hippocampus", "Right-Hippocampus"),
        ("ctx-lh-bankssts", "ctx-rh-bankssts"),
        ("Hippocampus left", "hippocampus RIGHT"),
        ("HIP_L", "HIP_R"),
        ("LeftThalamus", "RightThalamus"),
        ("thalamusLeft", "thalamusRight"),
        ("Lt. putamen", "Rt. putamen"),
        ("ThalL", "ThalR"),
        ("Thalamus links", "Thalamus rechts"),
        ("Thalamus gauche", "Thalamus droit"),
        ("Amygdala_sinistra", "Amygdala_dextra"),
    ],
)
def test_names_that_differ_in_the_side_are_pairs(left: str, right: str) -> None:
    assert mirror_pairs([Named(5, right), Named(9, left), Named(7, "Brainstem")]) == [(9, 5)]


@pytest.mark.parametrize(
    "names",
    [
        ("Brightness", "Bleftness"),
        ("Left A", "Right B"),
        ("A", "A"),
        ("lobe 1", "robe 1"),
        ("GML", "GMR"),
    ],
)
def test_others_are_none(names: tuple[str, str]) -> None:
    assert mirror_pairs([Named(1, names[0]), Named(2, names[1])]) == []


def test_a_side_without_partner_is_found() -> None:
    named = [Named(1, "Left A"), Named(2, "Right A"), Named(3, "Right B"), Named(4, "Factor L")]
    assert one_sided(named, mirror_pairs(named)) == [named[2]]
    both = [Named(1, "left of right"), Named(2, "right of left")]
    assert mirror_pairs(both) == [(1, 2)]


def test_what_is_written_is_a_table_with_all_of_it() -> None:
    named = [
        Named(3, "Left-A b", color="#010203"),
        Named(4, "Right-A b"),
        Named(9, "A: [x], {y} # \u00e9", "BG"),
        Named(12, "12"),
        Named(13, "Left_A_b"),
    ]
    regions = [
        Region("All", (3, 4, 9, 12, 13)),
        Region("All again", (13, 12, 9, 4, 3)),
        Region("One", (9,)),
        Region("A-b", (3, 4)),
    ]
    text = written(draft("mine", named[:3] + named[4:], regions[2:]), "x.json")
    space = LabelSpace.from_table(LabelTable.parse(yaml.safe_load(text)))
    assert [leaf.index for leaf in space.leaves] == [0, 3, 4, 9, 13]
    assert space.leaves[3].name == named[2].name
    assert space.leaves[1].color == "#010203"
    assert len({leaf.color for leaf in space.leaves}) == 5
    assert space.mirror == (0, 2, 1, 3, 4)
    assert space.label_set("A_b") == {1, 2}
    assert [entry.name for entry in space.classes[5:]] == ["A-b"]
    # No abbreviation is what another one is called.
    assert space.label_set("Left_A_b") == {4}
    assert space.label_set("BG") == {0}
    table = draft("mine", named, regions)
    assert [row["name"] for row in table["classes"]] == ["All", "A-b"]
    assert table["leaves"][4]["abbreviation"] == "label_12"


def test_a_name_is_read_as_it_is_written_and_stands_for_no_value() -> None:
    names = ("cortex ${oc.env:PATH}", "\\${a} \\ ${", "a\\b", "$ {c}")
    table = draft("mine", [Named(n, name) for n, name in enumerate(names, start=1)])
    read = OmegaConf.create(written(table, "x.json"))
    assert OmegaConf.to_container(read, resolve=True) == table
