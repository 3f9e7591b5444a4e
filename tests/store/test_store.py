"""Entries of prepared scans: what they hold, what makes another one, and interrupted builds."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_cohort import AFFINE, SHAPE, head, save, small_space, write_cohort
from small_store import contents, cut, store_at

from neoseg.labels import Convention
from neoseg.store import store as store_module
from neoseg.store.damage import DataError
from neoseg.store.entry import StoreEntry
from neoseg.store.locations import sample_locations
from neoseg.store.preprocess import Geometry
from neoseg.store.reading import read_codes
from neoseg.store.settings import PrepareSettings
from neoseg.store.store import Store


def test_an_entry_holds_image_native_codes_and_positions(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    entry = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    image, labels = head(np.random.default_rng(0))
    box = tuple(slice(*pair) for pair in entry.geometry.crop)
    codes = np.asarray(entry.codes[:])
    native = {index: position for position, index in enumerate(cohort.convention.values)}
    np.testing.assert_array_equal(codes, np.vectorize(native.get)(labels[box]))
    assert codes.dtype == np.uint8
    array = np.asarray(entry.image[:])
    assert array.dtype == np.float16
    assert array.shape == (1, *entry.shape)
    assert np.corrcoef(array.ravel(), image[box].ravel())[0, 1] > 0.999
    expected = sample_locations(codes, 40)
    found = entry.locations()
    assert sorted(found) == sorted(expected)
    for code, positions in expected.items():
        np.testing.assert_array_equal(found[code], positions)


def test_the_codes_are_those_of_the_convention_and_know_no_protocol(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    # A foreign convention: 20 says "somewhere in the brain", 12 nothing at all.
    mapping = {0: 0, 1: 1, 11: 11, 12: None, 20: "TCV", 99: "WM"}
    foreign = replace(cohort, convention=Convention.from_mapping(small_space(), mapping))
    entry = store_at(tmp_path).prepare(foreign, foreign.scans)[0]
    _, labels = head(np.random.default_rng(0))
    box = tuple(slice(*pair) for pair in entry.geometry.crop)
    values = np.array(foreign.convention.values)
    np.testing.assert_array_equal(values[np.asarray(entry.codes[:])], labels[box])


def test_values_outside_the_convention_are_named(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    few = replace(cohort, convention=Convention.from_mapping(small_space(), {0: 0, 1: 1, 11: 11}))
    with pytest.raises(DataError, match=r"labels\.nii\.gz holds label values .* 12, 20"):
        store_at(tmp_path).prepare(few, few.scans)


def test_a_scan_without_labels_has_no_codes(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2, unlabelled=[1])
    with_labels, without = store_at(tmp_path).prepare(cohort, cohort.scans)
    assert with_labels.annotated
    assert not without.annotated
    with pytest.raises(DataError, match="sub-01 has no label file"):
        read_codes(without.scan, cohort.convention, without.geometry)


def test_the_labels_have_no_say_in_the_image_and_its_crop(tmp_path: Path) -> None:
    kinds = {"true": {}, "noise": {"scrambled": [0]}, "none": {"unlabelled": [0]}}
    entries = []
    for name, kind in kinds.items():
        cohort = write_cohort(tmp_path / name, 1, **kind)
        if name == "noise":  # and a label far from the head
            labels = np.zeros_like(head(np.random.default_rng(0))[1])
            labels[0, 0, 0] = 20
            save(tmp_path / name / "sub-00" / "labels.nii.gz", labels)
        entries += store_at(tmp_path / name).prepare(cohort, cohort.scans)
    for entry in entries[1:]:
        assert entry.geometry == entries[0].geometry
        np.testing.assert_array_equal(entry.image[:], entries[0].image[:])


def test_nothing_is_built_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = write_cohort(tmp_path, 2)
    first = store_at(tmp_path).prepare(cohort, cohort.scans)

    def fail(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(Store, "_build", fail)
    again = store_at(tmp_path).prepare(cohort, cohort.scans)
    assert [e.folder for e in again] == [e.folder for e in first]
    assert [e.geometry for e in again] == [e.geometry for e in first]


@pytest.mark.parametrize(
    "settings", [{"normalise": "minmax"}, {"spacing": 1.0}, {"crop_margin": 0.0}]
)
def test_other_settings_make_another_entry(tmp_path: Path, settings: dict[str, object]) -> None:
    cohort = write_cohort(tmp_path, 1)
    first = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    second = store_at(tmp_path, **settings).prepare(cohort, cohort.scans)[0]
    assert first.folder != second.folder
    assert len(contents(tmp_path)) == 2


@pytest.mark.parametrize("name", ["image", "labels"])
def test_a_changed_file_makes_another_entry_and_a_touched_one_does_not(
    tmp_path: Path, name: str
) -> None:
    cohort = write_cohort(tmp_path, 2)
    first = store_at(tmp_path).prepare(cohort, cohort.scans)
    path = tmp_path / "sub-00" / f"{name}.nii.gz"
    os.utime(path, ns=(0, 0))
    touched = store_at(tmp_path).prepare(cohort, cohort.scans)
    assert [e.folder for e in touched] == [e.folder for e in first]
    array = np.asarray(nib.load(path).dataobj).copy()
    array[array == array[10, 12, 9]] = array[0, 0, 0]
    save(path, array)
    second = store_at(tmp_path).prepare(cohort, cohort.scans)
    assert first[0].folder != second[0].folder
    assert first[1].folder == second[1].folder


def test_labels_of_another_rater_with_equal_names_sizes_and_times(tmp_path: Path) -> None:
    """As an archive unpacks them that gives all files one time; uncompressed, so of one size."""
    shown = {}
    for rater in ("one", "two"):
        scan = write_cohort(tmp_path / rater, 1).scans[0]
        folder = tmp_path / rater / "sub-00"
        image, labels = head(np.random.default_rng(0))
        if rater == "two":  # who calls all of the right grey matter white
            labels[labels == 12] = 20
        images, label = (save(folder / "i.nii", image),), save(folder / "l.nii", labels)
        for path in folder.iterdir():
            os.utime(path, ns=(315532800 * 10**9,) * 2)
        cohort = replace(write_cohort(tmp_path / rater, 1), scans=())
        (found,) = store_at(tmp_path).examine(cohort, [replace(scan, images=images, label=label)])
        shown[rater] = found.voxels[3]
    assert shown["one"] > 0
    assert shown["two"] == 0


def test_labels_that_change_within_one_tick_and_size(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    _, labels = head(np.random.default_rng(0))
    path = save(tmp_path / "labels.nii", labels)
    scan = replace(cohort.scans[0], label=path)
    before, stat = store_at(tmp_path).examine(cohort, [scan])[0].voxels, path.stat()
    with path.open("r+b") as stream:  # the very same file
        stream.seek(352)
        stream.write(np.where(labels == 12, 20, labels).astype(np.uint8).tobytes("F"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = store_at(tmp_path).examine(cohort, [scan])[0].voxels
    assert (before[3] > 0, after[3]) == (True, 0)


def test_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = write_cohort(tmp_path, 1)
    read = store_module.read_scan

    def slowly(*args: object) -> object:
        found = read(*args)
        save(tmp_path / "sub-00" / "labels.nii.gz", np.ones(SHAPE, np.uint8))
        return found

    monkeypatch.setattr(store_module, "read_scan", slowly)
    with pytest.raises(DataError, match="of sub-00 changed while it was read"):
        store_at(tmp_path).prepare(cohort, cohort.scans)
    assert contents(tmp_path) == []


def test_another_label_convention_makes_another_entry(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    values = dict.fromkeys([*cohort.convention.values, 77], 0)
    other = replace(cohort, convention=Convention.from_mapping(small_space(), values))
    store = store_at(tmp_path)
    assert store.folder(cohort.scans[0], cohort) != store.folder(cohort.scans[0], other)


def test_a_moved_cohort_keeps_its_entries(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "here", 2)
    first = store_at(tmp_path).prepare(cohort, cohort.scans)
    shutil.move(tmp_path / "here", tmp_path / "there")

    def moved(path: Path | None) -> Path:
        assert path is not None
        return tmp_path / "there" / path.relative_to(tmp_path / "here")

    scans = tuple(
        replace(s, images=tuple(map(moved, s.images)), label=moved(s.label)) for s in cohort.scans
    )
    second = store_at(tmp_path).prepare(replace(cohort, scans=scans), scans)
    assert [e.folder for e in first] == [e.folder for e in second]


@pytest.mark.parametrize("step", ["write_array", "sample_locations", "prepare_labels"])
def test_an_interrupted_build_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cohort = write_cohort(tmp_path, 1)
    with monkeypatch.context() as patch:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(store_module, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            store_at(tmp_path).prepare(cohort, cohort.scans)
    assert contents(tmp_path) == []
    entry = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    assert contents(tmp_path) == [entry.folder.name]
    assert np.asarray(entry.codes[:]).any()


def test_a_draft_that_a_killed_process_left_is_not_taken_for_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = write_cohort(tmp_path, 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # A killed process tidies nothing up.
        patch.setattr(store_module, "sample_locations", die)
        patch.setattr(store_module.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            store_at(tmp_path).prepare(cohort, cohort.scans)
    left = contents(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(".draft-")
    entry = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    assert contents(tmp_path) == [entry.folder.name]
    assert sorted(p.name for p in entry.folder.iterdir()) == [
        "codes.b2nd",
        "entry.json",
        "image.b2nd",
        "locations.bin",
    ]


def test_an_entry_can_be_read_by_whoever_may_read_the_store(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    before = os.umask(0o022)
    try:
        entry = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    finally:
        os.umask(before)
    assert entry.folder.stat().st_mode & 0o777 == 0o755
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in entry.folder.iterdir())


def test_labels_on_a_mirrored_grid_are_refused(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    _, labels = head(np.random.default_rng(0))
    save(tmp_path / "sub-00" / "labels.nii.gz", labels, np.diag([-1.0, 1, 1, 1]) @ AFFINE)
    with pytest.raises(DataError, match=r"labels\.nii\.gz \(axes LAS\) .*\(axes RAS\)"):
        store_at(tmp_path).prepare(cohort, cohort.scans)


def test_a_subject_whose_id_has_a_dot(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2)
    scans = tuple(replace(s, subject=f"7.{s.subject}") for s in cohort.scans)
    entries = store_at(tmp_path).prepare(replace(cohort, scans=scans), scans)
    locks = {p.name for p in entries[0].folder.parent.glob("*.lock")}
    assert locks == {f"{e.folder.name}.lock" for e in entries}


def test_an_entry_travels_to_another_process_without_its_open_files(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    entry = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    image = np.asarray(entry.image[:])
    content = pickle.dumps(entry)
    assert len(content) < 5000
    again = pickle.loads(content)
    assert isinstance(again, StoreEntry)
    assert again == entry
    assert "image" not in again.__dict__
    np.testing.assert_array_equal(np.asarray(again.image[:]), image)


def test_the_record_says_what_the_entry_was_made_of(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    entry = store_at(tmp_path).prepare(cohort, cohort.scans)[0]
    record = json.loads((entry.folder / "entry.json").read_text())
    assert record["scan"] == "sub-00"
    assert [Path(f).name for f in record["files"]] == ["image.nii.gz", "labels.nii.gz"]
    assert record["values"] == [0, 1, 11, 12, 20]
    assert Geometry.from_dict(record["geometry"]) == entry.geometry


@pytest.mark.slow
def test_processes_give_the_same_store_in_order(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 5)
    cut(tmp_path / "sub-03" / "image.nii.gz")
    one = Store(tmp_path / "one", PrepareSettings(locations=40, processes=1))
    two = Store(tmp_path / "two", PrepareSettings(locations=40, processes=2))
    seen: list[str] = []
    serial = one.examine(cohort, cohort.scans)
    parallel = two.examine(cohort, cohort.scans, seen.append)
    assert sorted(seen) == [scan.id for scan in cohort.scans]
    for a, b in zip(serial, parallel, strict=True):
        assert (a.scan, a.problems, a.voxels, a.digest) == (b.scan, b.problems, b.voxels, b.digest)
        if a.entry is not None and b.entry is not None:
            assert a.entry.folder.name == b.entry.folder.name
            for path in a.entry.folder.glob("*.b2nd"):
                assert (b.entry.folder / path.name).read_bytes() == path.read_bytes()


def test_the_number_of_processes_names_no_entry(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    one = Store(tmp_path, PrepareSettings(processes=1))
    assert one.folder(cohort.scans[0], cohort) == Store(tmp_path, PrepareSettings()).folder(
        cohort.scans[0], cohort
    )
    assert "processes" not in PrepareSettings(processes=3).model_dump()


def test_a_store_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 3)
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot be written .*paths\.data") as caught:
        store_at(tmp_path).prepare(cohort, cohort.scans)
    assert len(str(caught.value).splitlines()) == 1
