"""Names of structures, in the files in which other programs keep them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neoseg.cohort.named import read_named
from neoseg.findings.problems import Problems
from neoseg.labels.draft import Named, Region

FREESURFER = """#No. Label Name:                R   G   B   A

0   Unknown                         0   0   0   0
17  Left-Hippocampus                220 216 20  0
53  Right-Hippocampus               220 216 20  0
"""
SNAP = """################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0   16        1  1  1    "Left "quoted" one"
"""
NNUNET = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4}


def read(path: Path, text: str) -> tuple[list[Named], list[Region], Problems]:
    path.write_text(text, encoding="utf-8")
    problems = Problems()
    return *read_named(path, problems), problems


def test_tables_of_freesurfer_and_slicer(tmp_path) -> None:
    named, regions, problems = read(tmp_path / "LUT.txt", FREESURFER)
    assert (regions, problems.errors) == ([], [])
    assert named[0] == Named(0, "Unknown", color="#000000")
    assert named[1:] == [Named(17, "Left-Hippocampus", color="#dcd814"), named[2]]


def test_a_plain_list(tmp_path) -> None:
    text = "0 background\n1: Left thalamus\n2, BA 44\n3\tc\n4 D 1 2 3 0\n"
    named, _, problems = read(tmp_path / "labels.txt", text)
    assert problems.errors == []
    assert named[:4] == [
        Named(0, "background"),
        Named(1, "Left thalamus"),
        Named(2, "BA 44"),
        Named(3, "c"),
    ]
    assert named[4] == Named(4, "D", color="#010203")


def test_labels_of_itk_snap(tmp_path) -> None:
    named, _, problems = read(tmp_path / "snap.label", "\ufeff" + SNAP)
    assert problems.errors == []
    assert named[1] == Named(1, 'Left "quoted" one', color="#ff0010")


def test_a_table_of_bids(tmp_path) -> None:
    text = "index\tname\tabbreviation\tcolor\n1\tGrey matter\tGM\t#ff0000\n2\tB\t\t\n"
    named, _, problems = read(tmp_path / "dseg.tsv", text)
    assert problems.errors == []
    assert named == [Named(1, "Grey matter", "GM", "#ff0000"), Named(2, "B")]


ATLAS = """acronym,id,name,structure_id_path,parent_structure_id,color_hex_triplet
root,997,root,/997/,,FFFFFF
CTX,315,Isocortex,/997/315/,997.0,70FF71
VIS,669,Visual areas,/997/315/669/,315.0,08858C
SO,614454277,"supraoculomotor, grey",/997/614454277/,997.0,
"""


@pytest.mark.parametrize("top", ["", "997", "0"])
def test_parents_of_an_atlas_are_regions(tmp_path, top: str) -> None:
    atlas = ATLAS.replace("/997/,,", f"/997/,{top},")
    named, regions, problems = read(tmp_path / "structures.csv", atlas)
    assert not problems.errors
    assert named[1] == Named(315, "Isocortex", "CTX", "#70FF71")
    assert named[3].index == 614454277
    assert {(r.name, r.index): set(r.members) for r in regions} == {
        ("root", 997): {997, 315, 669, 614454277},
        ("Isocortex", 315): {315, 669},
    }


def test_parents_in_a_circle_are_told(tmp_path) -> None:
    text = ATLAS.replace("/997/,,", "/997/,315,")
    _, regions, problems = read(tmp_path / "structures.csv", text)
    assert not regions
    assert "has 997 above itself" in str(problems.errors[0])


def test_regions_of_nnunet_and_the_parts_that_have_no_name(tmp_path) -> None:
    named, regions, problems = read(tmp_path / "dataset.json", json.dumps({"labels": NNUNET}))
    assert problems.errors == []
    names = {item.index: item.name for item in named}
    assert names == {0: "background", 1: "Part 1", 2: "Part 2", 3: "enhancing"}
    assert regions == [Region("whole", (1, 2, 3)), Region("core", (2, 3))]


@pytest.mark.parametrize(
    ("name", "text", "where", "words"),
    [
        ("a.txt", "1 A 1 2 3 0\nB 1 2 3 0\n", "a.txt:2", "names no structure"),
        ("a.txt", "1 A 1 2 3 0\n1 B 1 2 3 0\n", "a.txt", "names the integer 1 'A' and 'B'"),
        ("a.txt", '1 2 3 4 1 1 "A"\n', "a.txt:1", "names no structure"),
        ("a.txt", "1 A 1 2 3\n", "a.txt:1", "names no structure"),
        ("a.txt", "1\n", "a.txt:1", "names no structure"),
        ("a.tsv", "index\tname\n1\tA\nx\tB\n", "a.tsv:3, column index", "found 'x'"),
        ("a.tsv", "index\n1\n", "a.tsv", "has the columns"),
        ("a.json", "[1]", "a.json", "cannot be read"),
        ("a.json", "{}", "a.json", "cannot be read"),
        ("a.json", '{"labels": {"a": {}}}', "a.json", "has the label"),
        ("a.json", '{"labels": {"a": 1.5}}', "a.json", "has the label"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, text, where, words) -> None:
    problems = read(tmp_path / name, text)[2]
    (problem,) = problems.errors
    assert problem.where == str(tmp_path / where)
    assert words in problem.found


def test_a_file_that_is_not_there(tmp_path) -> None:
    problems = Problems()
    assert read_named(tmp_path / "LUT.txt", problems) == ([], [])
    assert "No such file" in problems.errors[0].found
