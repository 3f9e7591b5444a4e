"""What preparing finds wrong with scans: listed together, remembered, judged by tables of now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_cohort import head, save, small_space, write_cohort
from small_store import contents, store_at

from neoseg.cohort import Cohort
from neoseg.labels import Convention
from neoseg.store import store as store_module
from neoseg.store.damage import DataError


def test_every_problem_is_listed_and_the_good_scans_are_kept(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 5)
    (tmp_path / "sub-00" / "image.nii.gz").unlink()
    (tmp_path / "sub-01" / "image.nii.gz").write_bytes(b"")
    _, labels = head(np.random.default_rng(2))
    save(tmp_path / "sub-02" / "labels.nii.gz", labels[1:])
    save(tmp_path / "sub-03" / "labels.nii.gz", np.where(labels == 20, 21, labels))
    seen: list[str] = []
    with pytest.raises(DataError) as caught:
        store_at(tmp_path).prepare(cohort, cohort.scans, seen.append)
    message = str(caught.value)
    assert "4 of 5 scans of cohort 'small'" in message
    for subject, words in {
        "sub-00": "image.nii.gz cannot be read",
        "sub-01": "not a whole NIfTI file",
        "sub-02": "has shape",
        "sub-03": "holds label values outside the table 'small': 21",
    }.items():
        line = next(line for line in message.splitlines() if line.startswith(f"  {subject}: "))
        assert words in line
    assert "sub-04" not in message
    assert seen == [scan.id for scan in cohort.scans]
    assert len(contents(tmp_path)) == 1


def test_findings_are_remembered_without_reading_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = write_cohort(tmp_path, 1)
    image, _ = head(np.random.default_rng(0))
    save(tmp_path / "sub-00" / "image.nii.gz", image[..., None])
    (first,) = store_at(tmp_path).examine(cohort, cohort.scans)
    assert [problem.kind for problem in first.problems] == ["trailing-axis"]
    assert sum(first.voxels) == image.size
    monkeypatch.setattr(store_module, "read_scan", None)
    (again,) = store_at(tmp_path).examine(cohort, cohort.scans)
    assert (again.problems, again.voxels, again.digest) == (
        first.problems,
        first.voxels,
        first.digest,
    )


def test_findings_name_the_file_where_image_and_labels_are_called_alike(tmp_path: Path) -> None:
    """As in folders imagesTr and labelsTr, which have moved since."""
    cohort = write_cohort(tmp_path / "then", 1)
    (scan,) = cohort.scans
    places = [tmp_path / "then" / folder / "one.nii.gz" for folder in ("imagesTr", "labelsTr")]
    image, _ = head(np.random.default_rng(0))
    for place, old in zip(places, (scan.images[0], scan.label), strict=True):
        place.parent.mkdir()
        old.rename(place)
    save(places[0], image[..., None])
    scan = replace(scan, images=(places[0],), label=places[1])
    store_at(tmp_path).examine(replace(cohort, scans=(scan,)), (scan,))
    (tmp_path / "then").rename(tmp_path / "now")
    moved = [tmp_path / "now" / place.relative_to(tmp_path / "then") for place in places]
    scan = replace(scan, images=(moved[0],), label=moved[1])
    (again,) = store_at(tmp_path).examine(replace(cohort, scans=(scan,)), (scan,))
    assert [(p.kind, p.where) for p in again.problems] == [("trailing-axis", str(moved[0]))]


def test_what_labels_tell_is_judged_by_the_convention_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = write_cohort(tmp_path, 1)
    values = cohort.convention.values

    def meaning(of_all: object) -> Cohort:
        found = Convention.from_mapping(small_space(), dict.fromkeys(values, of_all))  # type: ignore[arg-type]
        return replace(cohort, convention=found)

    (first,) = store_at(tmp_path).examine(meaning(None), cohort.scans)
    assert [(p.kind, p.severity) for p in first.problems] == [("untold-labels", "warning")]
    # Corrected, the same values have the same entry.
    monkeypatch.setattr(store_module, "read_scan", None)
    (right,) = store_at(tmp_path).examine(cohort, cohort.scans)
    assert right.problems == ()
    assert right.entry is not None
    (wrong,) = store_at(tmp_path).examine(meaning(0), cohort.scans)
    assert [(p.kind, p.severity, p.scans) for p in wrong.problems] == [
        ("empty-labels", "error", ("sub-00",))
    ]
    assert wrong.entry is None
    with pytest.raises(DataError, match="shows no structure"):
        store_at(tmp_path).prepare(meaning(0), cohort.scans)


def test_all_that_is_wrong_with_a_scan_is_told_at_once(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    image, labels = head(np.random.default_rng(0))
    image[3, 3, 3] = np.nan
    save(tmp_path / "sub-00" / "image.nii.gz", image)
    save(tmp_path / "sub-00" / "labels.nii.gz", np.where(labels == 20, 33, labels))
    (found,) = store_at(tmp_path).examine(cohort, cohort.scans)
    assert [problem.kind for problem in found.errors] == ["not-finite", "label-values"]
    assert {problem.scans for problem in found.errors} == {("sub-00",)}


def test_a_mask_that_is_not_used_makes_no_new_entry_but_is_looked_at_again(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    mask = tmp_path / "sub-00" / "mask.nii.gz"
    _, labels = head(np.random.default_rng(0))
    save(mask, (labels > 1).astype(np.uint8))
    scan = replace(cohort.scans[0], mask=mask)
    by_head, by_mask = store_at(tmp_path), store_at(tmp_path, foreground="mask")
    (good,) = by_head.examine(cohort, [scan])
    used = by_mask.folder(scan, cohort)
    assert good.entry is not None
    assert good.problems == ()
    mask.write_bytes(b"broken")
    for _ in range(2):
        (now,) = by_head.examine(cohort, [scan])
        assert now.entry == good.entry
        assert [(p.kind, p.severity) for p in now.problems] == [("mask", "warning")]
    assert by_mask.folder(scan, cohort) != used
    save(mask, (labels > 1).astype(np.uint8))
    (mended,) = by_head.examine(cohort, [scan])
    assert mended.problems == ()
    assert len(contents(tmp_path)) == 1


def test_an_entry_holds_the_images_that_are_there(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2)
    first, second = (scan.images[0] for scan in cohort.scans)
    alone = replace(cohort.scans[0], images=(first,))
    store = store_at(tmp_path)
    (entry,) = store.prepare(cohort, [alone])
    (wider,) = store.prepare(cohort, [replace(alone, images=(first, None))])
    assert wider.folder == entry.folder
    assert wider.image.shape == entry.image.shape == (1, *entry.shape)
    block = (slice(2, 9), slice(0, 5), slice(4, 6))
    both = wider.read_image(block)
    assert both.dtype == np.float16
    assert both.shape == (2, 7, 5, 2)
    np.testing.assert_array_equal(both[:1], entry.read_image(block))
    assert not both[1].any()
    (third,) = store.prepare(cohort, [replace(alone, images=(first, None, second))])
    assert third.folder != entry.folder
    whole = third.read_image()
    np.testing.assert_array_equal(whole[0], entry.read_image()[0])
    assert not whole[1].any()
    assert whole[2].any()


def test_a_broken_mask_matters_only_where_it_is_used(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    mask = tmp_path / "sub-00" / "mask.nii.gz"
    mask.write_bytes(b"broken")
    scan = replace(cohort.scans[0], mask=mask)
    (by_head,) = store_at(tmp_path, crop_margin=0.0).examine(cohort, [scan])
    assert [(p.kind, p.severity) for p in by_head.problems] == [("mask", "warning")]
    assert by_head.entry is not None
    masked = store_at(tmp_path, foreground="mask", crop_margin=0.0)
    (by_mask,) = masked.examine(cohort, [scan])
    assert [(p.kind, p.severity) for p in by_mask.problems] == [("mask", "error")]
    assert by_mask.entry is None
    _, labels = head(np.random.default_rng(0))
    save(mask, (labels > 1).astype(np.uint8))
    (mended,) = masked.examine(cohort, [scan])
    assert mended.entry is not None
    assert [p.kind for p in mended.problems] == ["cropped-labels"]  # the mask is the smaller one
    assert mended.entry.shape < by_head.entry.shape
