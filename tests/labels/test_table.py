from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from neoseg.labels import LabelError, LabelTable

RAW: dict[str, Any] = {
    "name": "toy",
    "background": 0,
    "leaves": [
        {"index": 0, "name": "Clear", "abbreviation": "BG", "color": "#000000"},
        {"index": 3, "name": "Left part", "abbreviation": "A_L", "color": "#112233"},
        {"index": 7, "name": "Right part", "abbreviation": "A_R", "color": "#AABBCC"},
    ],
    "classes": [{"abbreviation": "A", "name": "Both parts", "leaves": ["A_L", 7]}],
    "mirror": [[3, 7]],
}


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """Return RAW with one entry replaced."""
    raw = deepcopy(RAW)
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return raw


def test_parses_a_table_and_gives_classes_a_default_colour() -> None:
    table = LabelTable.parse(RAW)
    assert [leaf.index for leaf in table.leaves] == [0, 3, 7]
    assert table.classes[0].leaves == ("A_L", 7)
    assert table.classes[0].color == "#ffffff"
    assert table.mirror == ((3, 7),)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("leaves", 1, "index"), 0, "index 0"),
        (("leaves", 1, "index"), -1, "leaves.1.index"),
        (("leaves", 1, "index"), 2**31, "leaves.1.index"),
        (("leaves", 1, "name"), "CLEAR", "name 'clear'"),
        (("leaves", 1, "abbreviation"), "bg", "name 'bg'"),
        (("leaves", 1, "abbreviation"), "both parts", "name 'both parts'"),
        (("classes", 0, "abbreviation"), "a_l", "name 'a_l'"),
        (("leaves", 1, "name"), "", "leaves.1.name"),
        (("leaves", 1, "color"), "red", "leaves.1.color"),
        (("leaves", 1, "colour"), "#112233", "leaves.1.colour"),
        (("classes", 0, "leaves"), [3], "classes.0.leaves"),
        (("mirror",), [[3, 3]], r"mirror names \[3\]"),
        (("mirror",), [[3, 5]], r"mirror names \[5\]"),
        (("mirror",), [[3, 7], [7, 0]], r"mirror names \[7\]"),
        (("leaves", 1, "name"), "7", "name '7'"),
        (("leaves", 1, "abbreviation"), "0", "name '0'"),
        (("classes", 0, "name"), "3", "name '3'"),
        (("mirror",), [[3, 7], [0, 0]], r"mirror names \[0\]"),
        (("mirror",), [[0, 3]], "mirror pairs the background '0'"),
        (("leaves",), RAW["leaves"][:1], "leaves"),
        (("extra",), 1, "extra"),
        (("classes", 0, "leaves"), [True, 7], "true is what YAML makes of words such as ON"),
        (("background",), False, "false is what YAML makes of"),
        (("leaves", 1, "name"), "cortex ${oc.env:KEY}", r"leaves.1.name.*has \$\{"),
    ],
)
def test_names_the_entry_that_is_wrong(path: tuple[Any, ...], value: object, message: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        LabelTable.parse(changed(path, value), "my.yaml")
    assert "my.yaml" in str(caught.value)


@pytest.mark.parametrize("background", [0, "0", "BG", "clear"])
def test_the_background_has_no_side_however_it_is_called(background: int | str) -> None:
    raw = {**RAW, "background": background, "mirror": [[7, 0]]}
    with pytest.raises(LabelError, match=f"mirror pairs the background '{background}'"):
        LabelTable.parse(raw)
    assert LabelTable.parse({**raw, "mirror": [[7, 3]]}).mirror == ((7, 3),)


def test_a_leaf_may_be_called_by_its_own_index() -> None:
    assert LabelTable.parse(changed(("leaves", 1, "abbreviation"), "3")).leaves[1].index == 3


def test_leaves_without_a_colour_get_colours_of_their_own() -> None:
    raw = changed(("leaves", 0, "color"), "#010203")
    for leaf in raw["leaves"][1:]:
        del leaf["color"]
    first, *others = LabelTable.parse(raw).leaves
    assert first.color == "#010203"
    assert len({leaf.color for leaf in others}) == len(others)


def test_a_list_of_wrong_leaves_is_not_called_too_short() -> None:
    raw = changed(("name",), "table")
    for leaf in raw["leaves"]:
        leaf["index"] = -1
    with pytest.raises(LabelError) as error:
        LabelTable.parse(raw)
    assert str(error.value).count("leaves.") == len(raw["leaves"])
    assert "at least 2" not in str(error.value)
    with pytest.raises(LabelError, match="at least 2"):
        LabelTable.parse(changed(("leaves",), []))


def test_lists_every_wrong_entry_at_once() -> None:
    raw = changed(("leaves", 0, "color"), "black")
    raw["leaves"][2]["index"] = "seven"
    with pytest.raises(LabelError, match=r"(?s)leaves\.0\.color.*leaves\.2\.index"):
        LabelTable.parse(raw)


def test_a_table_has_at_most_254_leaves() -> None:
    def leaves(number: int) -> list[dict[str, Any]]:
        return [
            {"index": i, "name": f"leaf {i}", "abbreviation": f"L{i}", "color": "#000000"}
            for i in range(number)
        ]

    assert len(LabelTable.parse({**RAW, "leaves": leaves(254), "classes": []}).leaves) == 254
    with pytest.raises(LabelError, match="leaves"):
        LabelTable.parse({**RAW, "leaves": leaves(255), "classes": []})


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "", "name: [", "just text"])
def test_read_names_a_file_that_is_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(LabelError, match=r"broken\.yaml"):
        LabelTable.read(path)


def test_read_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"absent\.yaml cannot be read"):
        LabelTable.read(tmp_path / "absent.yaml")


def test_a_default_of_an_invalid_value_is_no_error_of_its_own() -> None:
    leaves = [
        {"index": index, "name": f"S{index}", "abbreviation": f"S{index}"} for index in (0, 1)
    ]
    leaves.append({"index": 2**31, "name": "far", "abbreviation": "FAR"})
    with pytest.raises(LabelError) as caught:
        LabelTable.parse({"name": "t", "background": 0, "leaves": leaves, "classes": []})
    assert "leaves.2.index" in str(caught.value)
    assert "color" not in str(caught.value)
