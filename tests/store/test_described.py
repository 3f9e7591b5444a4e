"""Label files against the protocols that describe them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_cohort import annotate_cohort, save, write_cohort

from neoseg.cohort import Cohort, Split
from neoseg.cohort.annotation import ExtraAnnotationSettings
from neoseg.configuration.data import source_of
from neoseg.doctor.examination import diagnose, findings_of_plan
from neoseg.labels import Convention, Protocol
from neoseg.labels.protocol import PLANE_AXIS
from neoseg.store import DataError, PrepareSettings, read_volume
from neoseg.store.examined import warnings_of
from neoseg.store.store import Store


def described(cohort: Cohort, **raw: object) -> Cohort:
    protocol = Protocol.parse(cohort.convention.space, {"name": "p", "describes": True, **raw})
    return replace(cohort, scans=tuple(replace(s, annotation=protocol) for s in cohort.scans))


def test_a_file_that_tells_more_is_an_error_by_structure_and_voxels(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    label = cohort.scans[0].label
    assert label is not None
    voxels = int((read_volume(label, dtype=np.int64).data == 20).sum())
    store = Store(tmp_path / "store", PrepareSettings())
    for told in ({"missing": ["WM"]}, {"merge": [["CSF", "WM"]]}):
        (found,) = store.examine(described(cohort, **told), described(cohort, **told).scans)
        (error,) = [p for p in found.problems if p.kind == "contradicted-annotation"]
        assert error.where == str(label)
        assert f"{voxels} voxels of WM (20)" in error.found
        assert error.scans == (cohort.scans[0].id,)
    (fine,) = store.examine(cohort, cohort.scans)
    assert not fine.errors
    hides = Protocol.parse(cohort.convention.space, {"name": "p", "missing": ["WM"]})
    (fine,) = store.examine(cohort, [replace(cohort.scans[0], annotation=hides)])
    assert not fine.errors


def test_what_is_described_is_in_the_report(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2)
    path = cohort.scans[1].label
    assert path is not None
    full = read_volume(path, dtype=np.int64)
    drawn = full.data.copy()
    drawn[:, :, 1::2] = 0
    save(path, drawn.astype(np.uint8))
    cohort = replace(
        cohort,
        scans=(cohort.scans[0], described(cohort, slices={"plane": "axial"}).scans[1]),
    )
    settings = ExtraAnnotationSettings()
    found = diagnose(
        cohort,
        Store(tmp_path / "store", PrepareSettings()),
        lambda good: source_of(good, Split(("00",), (), ("01",)), settings, None),
    )
    assert found.annotated is not None
    assert found.annotated.rows == (
        ("train", "full", "full", "1", "1", "all"),
        ("test", "partial", "p", "1", "1", "all"),
    )
    assert "test   partial  p" in found.text()
    assert "| test | partial | p | 1 | 1 | all |" in found.markdown()


@pytest.mark.parametrize("plane", ["sagittal", "coronal", "axial"])
def test_labels_on_some_planes_are_told_unless_that_is_said(tmp_path: Path, plane: str) -> None:
    cohort = write_cohort(tmp_path, 1)
    path = cohort.scans[0].label
    assert path is not None
    whole = read_volume(path, dtype=np.int64).data
    drawn = np.zeros_like(whole)
    index: list[slice] = [slice(None)] * 3
    index[PLANE_AXIS[plane]] = slice(1, None, 3)
    drawn[tuple(index)] = whole[tuple(index)]
    save(path, drawn.astype(np.uint8))
    store = Store(tmp_path / "store", PrepareSettings(crop_margin=None))
    (found,) = store.examine(cohort, cohort.scans)
    (problem,) = found.problems
    assert problem.kind == "sparse-planes"
    assert f" {plane} planes, and on none of the " in problem.found
    assert f"'annotation.protocol.slices={{plane: {plane}}}'" in problem.action
    said = described(cohort, slices={"plane": plane})
    (found,) = store.examine(said, said.scans)
    assert not found.problems
    other = next(name for name in PLANE_AXIS if name != plane)
    said = described(cohort, slices={"plane": other})
    (found,) = store.examine(said, said.scans)
    (error,) = found.errors
    told = f"is said to be drawn on {other} planes, and shows "
    assert told in error.found
    with pytest.raises(DataError, match=told):
        warnings_of(said.scans[0], said.convention, PrepareSettings())
    assert warnings_of(cohort.scans[0], cohort.convention, PrepareSettings())


def test_planes_are_told_by_what_the_integers_mean_now(tmp_path: Path) -> None:
    """The entry stays when names are corrected; structures that were unknown before are told."""
    cohort = write_cohort(tmp_path, 1)
    path = cohort.scans[0].label
    assert path is not None
    whole = read_volume(path, dtype=np.int64).data
    planes = np.arange(whole.shape[1]) % 4 == 1
    save(path, np.where((whole == 1) & ~planes[:, None], 0, whole).astype(np.uint8))
    meaning = dict(zip(cohort.convention.values, cohort.convention.sets, strict=True))
    unknown = {**meaning, 1: cohort.convention.space.everything}
    other = Convention(cohort.convention.space, tuple(unknown), tuple(unknown.values()))
    store = Store(tmp_path / "store", PrepareSettings(crop_margin=None))
    (found,) = store.examine(replace(cohort, convention=other), cohort.scans)
    assert "sparse-planes" not in {problem.kind for problem in found.problems}
    (again,) = store.examine(cohort, cohort.scans)
    assert again.entry is not None
    assert found.entry is not None
    assert again.entry.folder == found.entry.folder
    (problem,) = again.problems
    assert "shows CSF on" in problem.found


def test_one_structure_among_others_and_planes_in_pairs_are_told(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    path = cohort.scans[0].label
    assert path is not None
    whole = read_volume(path, dtype=np.int64).data
    planes = np.isin(np.arange(whole.shape[1]) % 5, (0, 1))
    drawn = np.where((whole == 1) & ~planes[:, None], 0, whole)
    save(path, drawn.astype(np.uint8))
    store = Store(tmp_path / "store", PrepareSettings(crop_margin=None))
    (found,) = store.examine(cohort, cohort.scans)
    (problem,) = found.problems
    assert "shows CSF on" in problem.found
    assert " coronal planes" in problem.found


def test_structures_that_lie_apart_are_not_taken_for_planes(tmp_path: Path) -> None:
    """Small spots all over leave planes empty along every axis, two sides along one.

    Spots on one or two drawn planes leave those of another axis empty.
    """
    cohort = write_cohort(tmp_path, 1)
    path = cohort.scans[0].label
    assert path is not None
    spots = np.zeros_like(read_volume(path, dtype=np.int64).data, np.uint8)
    spots[1::4, 1::4, 1::4] = 1
    spots[2::6] = 0
    sides = np.zeros_like(spots)
    sides[2:6, 3:20, 3:15] = sides[13:17, 3:20, 3:15] = 1
    single = np.zeros_like(spots)
    single[2:18:3, 10:18, 6] = 1
    double = single.copy()
    double[:, :, 9:11] = single[:, :, 6:7]
    said = described(cohort, slices={"plane": "axial"})
    for labels in (spots, sides, single, double):
        save(path, labels)
        store = Store(tmp_path / "store", PrepareSettings(crop_margin=None))
        for annotated in (cohort, said):
            (found,) = store.examine(annotated, annotated.scans)
            assert "sparse-planes" not in {problem.kind for problem in found.problems}


def test_labels_outside_of_what_is_kept_are_counted(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    image, label = cohort.scans[0].images[0], cohort.scans[0].label
    assert image is not None
    assert label is not None
    bright, drawn = read_volume(image).data.copy(), read_volume(label, dtype=np.int64).data
    dark = drawn.shape[0] // 2
    bright[dark:] = bright.min()
    save(image, bright)
    kept = PrepareSettings(crop_margin=1.0)
    (found,) = Store(tmp_path / "store", kept).examine(cohort, cohort.scans)
    lost, every = int((drawn[dark + 1 :] > 0).sum()), int((drawn > 0).sum())
    (told,) = [problem for problem in found.problems if problem.kind == "cropped-labels"]
    assert told.found.startswith(f"has {lost} of {every} voxels of structures outside")
    assert "store.crop_margin=null" in told.action
    kept = PrepareSettings(crop_margin=None)
    (found,) = Store(tmp_path / "store", kept).examine(cohort, cohort.scans)
    assert not found.problems


def test_a_training_tells_of_what_no_scan_shows_and_some_lack(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 3)
    wm = cohort.convention.space.label_set("WM")
    label = cohort.scans[0].label
    assert label is not None
    drawn = read_volume(label, dtype=np.int64).data
    save(label, np.where(drawn == 20, 0, drawn).astype(np.uint8))
    store = Store(tmp_path / "store", PrepareSettings())
    plan = annotate_cohort(cohort, ["full", "partial", "full"], ["train", "train", "val"])
    merged, lacking = findings_of_plan(plan, store, mirrored=True)
    assert "structures that occur only merged with others: WM" in merged.found
    assert lacking.found.startswith("1 of 3 scans have no voxel of WM, which others show: sub-00")
    said = replace(cohort, scans=(replace(cohort.scans[0], not_drawn=wm), *cohort.scans[1:]))
    plan = annotate_cohort(said, ["full", "full", "full"], ["train", "train", "val"])
    assert findings_of_plan(plan, store, mirrored=True) == []


def test_labels_on_single_planes_are_not_resampled_across_them(tmp_path: Path) -> None:
    """Planes would be lost between those that the new grid samples."""
    cohort = write_cohort(tmp_path, 1)
    space = cohort.convention.space
    raw = {"name": "drawn", "slices": {"plane": "coronal"}, "describes": True}
    scan = replace(cohort.scans[0], annotation=Protocol.parse(space, raw))
    for spacing, kept in (((2.0, 0.8, 2.0), True), ((1.0, 1.6, 1.2), False)):
        store = Store(tmp_path / "store", PrepareSettings(spacing=spacing))
        (found,) = store.examine(cohort, [scan])
        assert (not found.errors) is kept
    (error,) = found.errors
    assert error.kind == "sparse-planes"
    assert "'store.spacing=[1,0.8,1.2]'" in error.action


def test_nothing_to_be_found_is_believed_of_who_is_named_as_full(tmp_path: Path) -> None:
    """A person without lesions; a file that nobody has drawn in looks the same."""
    cohort = write_cohort(tmp_path, 1)
    label = cohort.scans[0].label
    assert label is not None
    save(label, np.zeros_like(read_volume(label, dtype=np.int64).data, np.uint8))
    store = Store(tmp_path / "store", PrepareSettings())
    (found,) = store.examine(cohort, cohort.scans)
    (error,) = found.errors
    assert error.kind == "empty-labels"
    assert "name the scan in annotation.file: as full, or by the protocol" in error.action
    space = cohort.convention.space
    lesions_only = Protocol.parse(space, {"name": "lesions", "missing": ["CSF"], "describes": True})
    for named in (Protocol.full(space), lesions_only):
        (found,) = store.examine(cohort, [replace(cohort.scans[0], annotation=named)])
        assert not found.problems
    (found,) = store.examine(cohort, cohort.scans)  # what is prepared now tells it as well
    assert [problem.kind for problem in found.errors] == ["empty-labels"]
