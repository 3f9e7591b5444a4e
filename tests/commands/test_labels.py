"""Label tables that a command writes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neoseg.cohort import CohortError, read_nnunet
from neoseg.commands.labels import LabelsConfig, main
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelError, LabelSpace, LabelTable


def write(source: Path, output: Path, **more: object) -> LabelSpace:
    main({"from": str(source), "output": str(output), **more})  # type: ignore[arg-type]
    return LabelSpace.from_table(LabelTable.read(output))


def image(path: Path, *values: float) -> Path:
    data = np.zeros((4, 4, 4), np.float32)
    data.flat[: len(values)] = values
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def lut(path: Path, *names: str) -> Path:
    path.write_text("".join(f"{n} {name} 1 2 3 0\n" for n, name in enumerate(names)))
    return path


def test_a_table_from_regions_reads_the_folder_it_was_made_of(tmp_path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    source = tmp_path / "dataset.json"
    source.write_text(json.dumps({"channel_names": {"0": "T1"}, "labels": labels}))
    space = write(source, tmp_path / "labels" / "tumour.yaml")
    assert space.name == "tumour"
    assert space.label_set("core") == {2, 3}
    for folder in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        (tmp_path / folder).parent.mkdir()
        (tmp_path / folder).write_bytes(b"x")
    cohort = read_nnunet(tmp_path, space, modalities=["T1"])
    assert cohort.convention.values == (0, 1, 2, 3, 4)
    sets = [*({leaf} for leaf in range(4)), space.everything]
    assert list(cohort.convention.sets) == sets


def test_a_folder_of_masks_names_the_structures(tmp_path, caplog) -> None:
    for name in ("liver", "kidney_left", "kidney_right"):
        image(tmp_path / f"{name}.nii.gz", 1)
    (tmp_path / "notes.txt").touch()
    space = write(tmp_path, tmp_path / "labels" / "organs.yaml")
    assert [leaf.abbreviation for leaf in space.leaves[1:]] == [
        "kidney_left",
        "kidney_right",
        "liver",
    ]
    assert space.mirror == (0, 2, 1, 3)
    assert space.label_set("kidney left") == {1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty has no volumes"):
        write(tmp_path / "empty", tmp_path / "none.yaml")


def test_a_label_image_and_what_is_kept_of_many_names(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    labels = image(tmp_path / "aseg.nii.gz", 3, 2.00001, 7)
    space = write(labels, tmp_path / "a.yaml")
    assert [leaf.index for leaf in space.leaves] == [0, 2, 3, 7]
    names = lut(tmp_path / "LUT.txt", "Unknown", "X", "Left-A", "Right-A", *["Y"] * 3, "Left-B")
    space = write(names, tmp_path / "b.yaml", only=[str(labels)])
    assert [leaf.name for leaf in space.leaves] == ["Unknown", "Left-A", "Right-A", "Left-B"]
    assert space.mirror == (0, 2, 1, 3)
    assert "mirror pair by name: 2 Left-A, 3 Right-A" in caplog.text
    assert "have a side and no partner: Left-B" in caplog.text


def test_a_structure_that_files_hold_beside_its_parts_is_a_leaf_and_a_class(tmp_path) -> None:
    names = tmp_path / "structures.csv"
    rows = ("id,acronym,name,parent_structure_id", "315,CTX,Isocortex,", "2,VIS,Visual,315")
    names.write_text("\n".join((*rows, "3,MO,Motor,315", "4,OTHER,Other,")))
    space = write(names, tmp_path / "parts.yaml")
    assert [leaf.index for leaf in space.leaves] == [0, 2, 3, 4]
    assert space.label_set("CTX") == {1, 2}
    labels = image(tmp_path / "labels.nii.gz", 2, 315)
    space = write(names, tmp_path / "both.yaml", only=[str(labels)])
    assert [leaf.abbreviation for leaf in space.leaves] == ["BG", "VIS", "CTX"]
    assert space.label_set("CTX") == {2}
    assert space.label_set("CTX_whole") == space.label_set("Isocortex, whole") == {1, 2}


def test_nothing_is_written_over_unasked(tmp_path) -> None:
    names, output = lut(tmp_path / "LUT.txt", "Unknown", "A"), tmp_path / "a.yaml"
    output.write_text("mine")
    with pytest.raises(ConfigError, match="overwrite=true"):
        write(names, output)
    assert output.read_text() == "mine"
    assert write(names, output, overwrite=True).num_leaves == 2


def test_a_table_that_must_be_edited_is_written_and_says_so(tmp_path, caplog) -> None:
    names = lut(tmp_path / "LUT.txt", "Unknown", "A", "A")
    with pytest.raises(LabelError):
        write(names, tmp_path / "a.yaml")
    assert "name 'a' more than once" in caplog.text
    assert "to be corrected" in caplog.text


def test_what_makes_no_table_is_refused(tmp_path) -> None:
    output = tmp_path / "a.yaml"
    with pytest.raises(ConfigError, match=r"names 299 structures.*only="):
        write(lut(tmp_path / "many.txt", *(f"S{n}" for n in range(300))), output)
    with pytest.raises(ConfigError, match="names 0 structures"):
        write(image(tmp_path / "empty.nii.gz"), output)
    with pytest.raises(LabelError, match="is not a label image"):
        write(image(tmp_path / "t1.nii.gz", 0.5), output)
    labels = image(tmp_path / "l.nii.gz", 1, 9)
    (tmp_path / "l.label").write_text("nothing\n")
    with pytest.raises(ConfigError, match="hold 9, which have no name"):
        write(lut(tmp_path / "l.txt", "U", "A"), output, only=str(labels))
    with pytest.raises(CohortError, match=r"l\.label:1.*names no structure"):
        write(tmp_path / "l.label", output)
    assert not output.exists()
    with pytest.raises(ConfigError, match=r"ends in \.yaml"):
        LabelsConfig.parse({"from": "a.txt", "output": "a.txt"})
    with pytest.raises(ConfigError, match="from is not set"):
        LabelsConfig.parse({"output": "a.yaml"})
