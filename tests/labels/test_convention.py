from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from neoseg.labels import Convention, LabelError, LabelSpace, LabelTable

FETA: dict[int, Any] = {
    0: "BG",
    1: "CSF",
    2: "cGM",
    3: "WM",
    4: "VENT",
    5: "CBM",
    6: "dGM",
    7: "BS",
}
ISEG: dict[int, Any] = {0: None, 10: ["CSF", "VENT"], 150: ["cGM", "dGM", "HA"], 250: "WM"}


def names(space: LabelSpace, leaves: frozenset[int]) -> set[str]:
    return {space.leaves[k].abbreviation for k in leaves}


@pytest.mark.parametrize("name", ["drawem9", "drawem87", "fidon8"])
def test_identity_takes_every_index_to_its_leaf(name: str, request: pytest.FixtureRequest) -> None:
    space = request.getfixturevalue(name)
    convention = Convention.identity(space)
    assert convention.values == tuple(sorted(leaf.index for leaf in space.leaves))
    for value, leaves in zip(convention.values, convention.sets, strict=True):
        assert [space.leaves[k].index for k in leaves] == [value]


def test_feta_values_mean_other_leaves(drawem9: LabelSpace) -> None:
    convention = Convention.from_mapping(drawem9, FETA)
    native = convention.encode(np.array([4, 6, 7]), "feta.nii.gz")
    assert [names(drawem9, convention.sets[n]) for n in native] == [{"VENT"}, {"dGM"}, {"BS"}]


def test_iseg_values_are_sets_with_gaps_between_them(drawem9: LabelSpace) -> None:
    convention = Convention.from_mapping(drawem9, dict(reversed(ISEG.items())))
    assert convention.values == (0, 10, 150, 250)
    native = convention.encode(np.array([[250, 150], [10, 0]], dtype=np.uint8), "iseg")
    assert native.tolist() == [[3, 2], [1, 0]]
    assert names(drawem9, convention.sets[2]) == {"cGM", "dGM", "HA"}
    assert convention.sets[0] == drawem9.everything
    for gap in (9, 11, 149, 251):
        with pytest.raises(LabelError, match=rf"iseg .*: {gap} .*expected 0, 10, 150, 250"):
            convention.encode(np.array([gap]), "iseg")


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64]
)
def test_every_file_type_gives_the_same_codes(drawem9: LabelSpace, dtype: type) -> None:
    labels = np.arange(10, dtype=dtype).reshape(1, 2, 5)
    native = Convention.identity(drawem9).encode(labels, "x")
    assert native.dtype == np.uint8
    assert native.shape == labels.shape
    np.testing.assert_array_equal(native.ravel(), np.arange(10))


@pytest.mark.parametrize("value", [0.5, 2.01, np.nan])
def test_values_that_are_not_whole_name_the_file(drawem9: LabelSpace, value: float) -> None:
    with pytest.raises(LabelError, match=r"sub-1_dseg\.nii\.gz.*whole label numbers"):
        Convention.identity(drawem9).encode(np.array([0.0, value, 3.0]), "sub-1_dseg.nii.gz")


def test_numbers_that_are_whole_but_for_rounding_are_rounded(drawem9: LabelSpace) -> None:
    labels = np.arange(10, dtype=np.float32) * np.float32(1 + 1e-7) - np.float32(9e-4)
    codes = Convention.identity(drawem9).encode(labels, "x")
    np.testing.assert_array_equal(codes, np.arange(10))


def test_negative_values_have_a_meaning_too(drawem9: LabelSpace) -> None:
    convention = Convention.from_mapping(drawem9, {-1: None, -3: "CSF", 2: "cGM"})
    assert convention.values == (-3, -1, 2)
    labels = np.array([2, -1, -3], np.int16)
    assert convention.encode(labels, "x").tolist() == [2, 1, 0]
    for value in (-4, -2, 0, 3):
        with pytest.raises(LabelError, match=rf"x holds .*: {value} \(1 voxels\)"):
            convention.encode(np.array([value]), "x")


def test_a_convention_is_written_as_it_is_read(drawem9: LabelSpace) -> None:
    meaning = {-1: None, 0: "BG", 2: "TCV", 4: ["cGM", "HA"], 7: "VENT"}
    convention = Convention.from_mapping(drawem9, meaning)
    assert convention.written() == "{-1: null, 0: BG, 2: TCV, 4: [2, 9], 7: VENT}"
    assert (
        convention.written({3: "null"}) == "{-1: null, 0: BG, 2: TCV, 3: null, 4: [2, 9], 7: VENT}"
    )
    override = OverridesParser.create().parse_override(f"x={convention.written()}")
    assert Convention.from_mapping(drawem9, override.value()) == convention


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_infinite_values_are_refused(drawem9: LabelSpace, value: float) -> None:
    with pytest.raises(LabelError, match="file"):
        Convention.identity(drawem9).encode(np.array([0.0, value]), "file")


@pytest.mark.parametrize(("value", "dtype"), [(10, np.uint8), (-1, np.int16), (65535, np.uint16)])
def test_values_outside_the_table_are_listed_with_their_number(
    drawem9: LabelSpace, value: int, dtype: type
) -> None:
    labels = np.array([0, 9, value, value], dtype=dtype)
    message = rf"file .*'drawem9': {value} \(2 voxels\); expected 0-9\."
    with pytest.raises(LabelError, match=message):
        Convention.identity(drawem9).encode(labels, "file")


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.float64])
def test_atlases_have_integers_of_32_bits(dtype: type) -> None:
    leaves = [
        {"index": index, "name": f"n{index}", "abbreviation": f"a{index}"}
        for index in (0, 315, 614454277)
    ]
    table = {"name": "mouse", "background": 0, "leaves": leaves}
    convention = Convention.identity(LabelSpace.from_table(LabelTable.parse(table)))
    labels = np.array([614454277, 0, 315, 614454277], dtype=dtype)
    assert convention.encode(labels, "file").tolist() == [2, 0, 1, 2]
    with pytest.raises(LabelError, match=r"614454272 \(1 voxels\)"):  # as float32 rounds it
        convention.encode(labels.astype(np.float32)[:1], "file")


def test_a_long_list_of_odd_values_is_shortened(drawem9: LabelSpace) -> None:
    with pytest.raises(LabelError, match=r"100, 101, 102, 103, 104, 105, 106, 107, … \(20 voxels"):
        Convention.identity(drawem9).encode(np.arange(100, 120), "file")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "1 to 256"),
        (dict.fromkeys(range(257), 0), "found 257"),
        ({-(2**31) - 1: "BG"}, "-2147483649"),
        ({1.5: "BG"}, "1.5"),
        ({1: "cortex"}, "cortex"),
        ({1: ["cGM", "nothing"]}, "nothing"),
        ({1: []}, "empty"),
    ],
)
def test_conventions_that_cannot_be(
    drawem9: LabelSpace, mapping: dict[Any, Any], message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        Convention.from_mapping(drawem9, mapping)


def test_a_convention_may_have_256_values(drawem9: LabelSpace) -> None:
    convention = Convention.from_mapping(drawem9, {k: k % 10 for k in range(256)})
    labels = np.arange(256)
    np.testing.assert_array_equal(convention.encode(labels, "x"), labels)


def test_fetal_atlas_region_maps_to_leaves_of_the_tissues(drawem9: LabelSpace) -> None:
    convention = Convention.from_mapping(drawem9, {0: "BG", 6: ["CBM", "BS"], 8: "WM", 9: "WM"})
    assert names(drawem9, convention.sets[1]) == {"CBM", "BS"}
    assert convention.sets[2] == convention.sets[3]
