"""Label tables that other programs read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neoseg.cohort.named import read_named
from neoseg.commands.labels import main
from neoseg.findings.problems import Problems
from neoseg.findings.settings import ConfigError
from neoseg.inference.dataset import Provenance, describe
from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.written import safe_names, write_table

TABLE = LabelTable.parse(
    {
        "name": "odd",
        "background": "Nothing",
        "leaves": [
            {"index": 40, "name": "Gyrus, left (a/b)", "abbreviation": "G L", "color": "#ff8000"},
            {"index": 7, "name": "Gyrus left a b", "abbreviation": "GL2", "color": "#0000ff"},
            {"index": 0, "name": "Nothing", "abbreviation": "BG", "color": "#000000"},
            {"index": 9, "name": "Gyrus left a b 7", "abbreviation": "?", "color": "#000001"},
            {"index": 11, "name": "Unknown", "abbreviation": "U", "color": "#000002"},
            {"index": 300, "name": 'The "core"', "abbreviation": "C", "color": "#010203"},
        ],
    }
)


@pytest.mark.parametrize("kind", ["freesurfer", "itksnap"])
def test_our_own_reader_finds_indices_names_and_colours(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "table.txt"
    write_table(path, TABLE, kind)
    problems = Problems()
    found, _ = read_named(path, problems)
    assert not problems.errors
    leaves = sorted(TABLE.leaves, key=lambda leaf: leaf.index)
    assert [(item.index, item.color) for item in found] == [(v.index, v.color) for v in leaves]
    wanted = (
        safe_names(leaves)
        if kind == "freesurfer"
        else [leaf.name.replace('"', "'") for leaf in leaves]
    )
    assert [item.name for item in found] == wanted


def test_safe_names_are_different_and_plain() -> None:
    assert safe_names(TABLE.leaves) == [
        "Gyrus_left_a_b_40",
        "Gyrus_left_a_b_7_7",
        "Nothing",
        "Gyrus_left_a_b_7_9",
        "Unknown",
        "The_core",
    ]


def test_a_colour_table_of_slicer_has_a_line_a_structure(tmp_path: Path) -> None:
    write_table(tmp_path / "t.ctbl", TABLE, "slicer")
    rows = [line.split() for line in (tmp_path / "t.ctbl").read_text().splitlines()[2:]]
    assert [row[0] for row in rows] == ["0", "7", "9", "11", "40", "300"]
    assert rows[0][2:] == ["0", "0", "0", "0"]
    assert rows[4][2:] == ["255", "128", "0", "255"]


def test_the_command_writes_what_is_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "FreeSurferColorLUT.txt"
    write_table(source, TABLE, "freesurfer")
    table, back = tmp_path / "mine.yaml", tmp_path / "mine.ctbl"
    main({"from": str(source), "output": str(table)})  # type: ignore[arg-type]
    main({"from": str(table), "output": str(back), "format": "slicer"})  # type: ignore[arg-type]
    assert "The_core" in back.read_text()
    with pytest.raises(ConfigError, match=r"expected a file that ends in \.yaml"):
        main({"from": str(source), "output": str(back), "overwrite": True})  # type: ignore[arg-type]


def label_image(path: Path) -> np.ndarray:
    labels = np.array([leaf.index for leaf in TABLE.leaves], np.uint16).reshape(-1, 1, 1)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)
    return labels


@pytest.mark.skipif(shutil.which("labelconvert") is None, reason="mrtrix3 is not installed")
def test_labelconvert_numbers_the_structures(tmp_path: Path) -> None:
    labels = label_image(tmp_path / "in.nii").ravel()
    write_table(tmp_path / "in.txt", TABLE, "freesurfer")
    write_table(tmp_path / "out.txt", TABLE, "mrtrix")
    names = ("in.nii", "in.txt", "out.txt", "out.nii")
    subprocess.run(["labelconvert", "-quiet", *names], cwd=tmp_path, check=True)
    found = np.asarray(nib.load(tmp_path / "out.nii").dataobj).ravel()
    assert found.tolist() == [sorted(labels).index(index) for index in labels]


def test_freesurfers_own_library_reads_its_table(tmp_path: Path) -> None:
    surfa = pytest.importorskip("surfa", reason="surfa is not installed (pip install surfa)")
    write_table(tmp_path / "lut.txt", TABLE, "freesurfer")
    found = surfa.load_label_lookup(str(tmp_path / "lut.txt"))
    for leaf, name in zip(TABLE.leaves, safe_names(TABLE.leaves), strict=True):
        red, green, blue = (int(leaf.color[place : place + 2], 16) for place in (1, 3, 5))
        assert found[leaf.index].name == name
        assert list(found[leaf.index].color[:3]) == [red, green, blue]


def test_nilearn_averages_over_the_structures_of_a_dseg_table(tmp_path: Path) -> None:
    maskers = pytest.importorskip("nilearn.maskers", reason="nilearn is not installed")
    space = LabelSpace.from_table(TABLE)
    describe(tmp_path, space, Provenance("neoseg", "0.1.0", "run"))
    labels = label_image(tmp_path / "labels.nii")
    image = nib.Nifti1Image(np.stack([labels, labels + 0.5], axis=-1).astype(np.float32), np.eye(4))
    (table,) = tmp_path.glob("*_dseg.tsv")
    masker = maskers.NiftiLabelsMasker(tmp_path / "labels.nii", lut=table, standardize=None)
    values = masker.fit_transform(image)
    wanted = sorted(leaf.index for leaf in TABLE.leaves if leaf.index)
    assert values.tolist() == [wanted, [index + 0.5 for index in wanted]]
    names = {leaf.index: leaf.name for leaf in TABLE.leaves}
    assert list(masker.region_names_.values()) == [names[index] for index in wanted]
