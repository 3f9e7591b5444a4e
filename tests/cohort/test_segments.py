"""3D Slicer's label files, which name and number their segments each in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neoseg.cohort import Cohort, CohortError, Plan
from neoseg.cohort.annotation import AnnotationSettings
from neoseg.cohort.scan_table import read_table
from neoseg.cohort.segments import convention_in, segments_of
from neoseg.cohort.split import Split
from neoseg.commands.labels import read_source
from neoseg.configuration.data import source_of
from neoseg.doctor.examination import diagnose
from neoseg.findings.problems import Problems
from neoseg.labels import LabelSpace, LabelTable
from neoseg.store import PrepareSettings
from neoseg.store.store import Store

SHAPE = (12, 10, 8)
TABLE = {
    "name": "hippo",
    "background": 0,
    "leaves": [
        {"index": 0, "name": "Background", "abbreviation": "BG", "color": "#000000"},
        {"index": 1, "name": "Anterior", "abbreviation": "ANT", "color": "#ff0000"},
        {"index": 2, "name": "Posterior", "abbreviation": "POST", "color": "#00ff00"},
    ],
    "classes": [{"abbreviation": "HIP", "name": "Hippocampus", "leaves": ["ANT", "POST"]}],
}


@pytest.fixture(name="space")
def hippocampus() -> LabelSpace:
    return LabelSpace.from_table(LabelTable.model_validate(TABLE))


def write_nrrd(
    path: Path, voxels: np.ndarray, segments: Mapping[int, str] | list[tuple[int, str]]
) -> Path:
    """A file as 3D Slicer writes it, uncompressed."""
    pairs = segments if isinstance(segments, list) else segments.items()
    layers = () if voxels.ndim == 3 else ("list",)
    fields = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {voxels.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        f"space directions: {'none ' if layers else ''}(-1,0,0) (0,-1,0) (0,0,1)",
        f"kinds: {' '.join([*layers, 'domain', 'domain', 'domain'])}",
        "encoding: raw",
        "space origin: (0,0,0)",
    ]
    for number, (value, name) in enumerate(pairs):
        fields += [
            f"Segment{number}_ID:=Segment_{number}",
            f"Segment{number}_LabelValue:={value}",
            f"Segment{number}_Name:={name}",
        ]
    path.write_bytes("\n".join(fields).encode() + b"\n\n" + voxels.tobytes(order="F"))
    return path


def write_cohort(root: Path, names: Mapping[str, Mapping[int, str]]) -> Path:
    """Write a scan for each entry of `names`: the front of the block is 1, the back 2."""
    rows = ["subject,T1,label"]
    for number, (subject, segments) in enumerate(names.items()):
        labels = np.zeros(SHAPE, np.uint8)
        labels[3:9, 2:5, 2:6], labels[3:9, 5:8, 2:6] = 1, 2
        labels[3, 2, 2 + number] = 0
        image = np.random.default_rng(number).normal(100, 10, SHAPE) + 50 * labels
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), root / f"{subject}.nii.gz")
        label = write_nrrd(root / f"{subject}.seg.nrrd", labels, segments)
        rows.append(f"{subject},{subject}.nii.gz,{label.name}")
    path = root / "scans.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def read(path: Path, space: LabelSpace, **options: object) -> Cohort:
    return read_table(path, space, modalities=["T1"], name="lab", **options)  # type: ignore[arg-type]


SAME, SWAPPED = {1: "Anterior", 2: "Posterior"}, {1: "posterior", 2: "anterior"}


def test_each_file_counts_as_it_names_its_segments(tmp_path: Path, space: LabelSpace) -> None:
    path = write_cohort(tmp_path, {"a": SAME, "b": SWAPPED, "c": {1: "HIP", 2: "HIP"}})
    cohort = read(path, space)
    assert [problem.kind for problem in cohort.problems] == []
    a, b, c = cohort.scans
    assert a.sets(cohort.convention) == tuple(map(space.label_set, ("BG", "ANT", "POST")))
    assert b.sets(cohort.convention) == tuple(map(space.label_set, ("BG", "POST", "ANT")))
    assert c.sets(cohort.convention) == tuple(map(space.label_set, ("BG", "HIP", "HIP")))
    diagnosis = diagnose(cohort, Store(tmp_path / "store", PrepareSettings(processes=1)))
    assert [problem.kind for problem in diagnosis.problems] == ["full-but-coarse"]
    assert "1 scans that count" in diagnosis.problems[0].found
    assert diagnosis.structures is not None
    # 71 and 72 voxels, one lost of integer 1; the outline counts for both.
    assert diagnosis.structures.voxels[:, 1:].tolist() == [[71, 72], [72, 71], [143, 143]]

    settings = AnnotationSettings.model_validate(
        {"full_fraction": 1.0, "protocol": {"name": "full"}}
    )
    source = source_of(cohort, Split(("a", "b", "c"), (), ()), settings, None)
    codebook = Plan.of([source]).codebook
    assert space.label_set("HIP") in codebook.sets
    assert source.lookup(a, "full", codebook)[1] == source.lookup(b, "full", codebook)[2]


def test_names_that_nobody_gave_are_integers(tmp_path: Path, space: LabelSpace) -> None:
    path = write_cohort(tmp_path, {"a": {1: "Segment_1", 2: "Segment_2"}})
    cohort = read(path, space)
    assert [problem.kind for problem in cohort.problems] == ["guessed-meaning"]
    assert cohort.scans[0].own_convention is None


def test_a_name_among_others_that_the_table_lacks_is_an_error(
    tmp_path: Path, space: LabelSpace
) -> None:
    path = write_cohort(tmp_path, {"a": {1: "Anterior", 2: "Tail"}, "b": SAME})
    with pytest.raises(CohortError, match="has names that label table 'hippo' lacks: 2 'Tail'"):
        read(path, space)
    cohort = read(path, space, on_error="skip")
    assert [scan.subject for scan in cohort.scans] == ["b"]


def test_a_convention_that_the_file_contradicts_is_an_error(
    tmp_path: Path, space: LabelSpace
) -> None:
    path = write_cohort(tmp_path, {"a": SAME, "b": SWAPPED})
    with pytest.raises(
        CohortError, match=r"b\.seg\.nrrd: .*so that 1 is posterior, 2 is anterior"
    ) as caught:
        read(path, space, convention="identity")
    assert len(caught.value.problems) == 1
    path = write_cohort(tmp_path, {"a": SAME, "b": {1: "Anterior", 2: "Tail"}})
    for back in ("POST", "HIP", "BG", None):
        cohort = read(path, space, convention={0: "BG", 1: "ANT", 2: back})
        assert [scan.own_convention for scan in cohort.scans] == [None, None]


def test_layers_are_refused_with_what_slicer_can_do(tmp_path: Path, space: LabelSpace) -> None:
    path = write_cohort(tmp_path, {"a": SAME})
    write_nrrd(tmp_path / "a.seg.nrrd", np.zeros((2, *SHAPE), np.uint8), {1: "Anterior"})
    cohort = read(path, space)
    (item,) = Store(tmp_path / "store", PrepareSettings(processes=1)).examine(cohort, cohort.scans)
    assert "export the segmentation as one label map" in item.errors[0].action


def test_an_integer_with_two_names_is_an_error(tmp_path: Path, space: LabelSpace) -> None:
    """Such as of layers that were made one; the last name would count."""
    pairs = [(1, "Anterior"), (2, "Posterior"), (1, "Posterior"), (2, "Posterior")]
    path = write_nrrd(tmp_path / "a.seg.nrrd", np.zeros(SHAPE, np.uint8), pairs)
    problems = Problems()
    convention_in(space, path, problems)
    assert [item.found for item in problems.errors] == ["lists the index 1 twice"]


def test_a_table_is_drafted_from_the_names(tmp_path: Path) -> None:
    write_cohort(tmp_path, {"a": {2: "Amygdala", 1: "Hippocampus"}})
    named, regions = read_source(tmp_path / "a.seg.nrrd")
    assert [(item.index, item.name) for item in named] == [(1, "Hippocampus"), (2, "Amygdala")]
    assert not regions
    assert segments_of(tmp_path / "a.nii.gz") == []
    (tmp_path / "b.nrrd").write_bytes(b"Segment0_Name:=A\nSegment0_LabelValue:=1\n\n")
    assert segments_of(tmp_path / "b.nrrd") == []
