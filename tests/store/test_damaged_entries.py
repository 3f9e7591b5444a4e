"""Entries of the store that were damaged after they were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_cohort import write_cohort
from small_store import contents, cut, store_at

from neoseg.store.damage import DataError
from neoseg.store.entry import write_record


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def other_shape(path: Path) -> None:
    record = json.loads(path.read_text())
    record["geometry"]["prepared_shape"][0] += 1
    path.write_text(json.dumps(record))


def record_of_another_shape(path: Path) -> None:
    record = json.loads(path.read_text())
    path.unlink()
    record["geometry"]["prepared_shape"][0] += 1
    del record["crc32"]
    write_record(path.parent, record)


def other_affine(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace("0.8", "0.9"))
    assert path.read_text() != text


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("image.b2nd", cut, "were written"),
        ("image.b2nd", Path.unlink, "cannot be read"),
        ("codes.b2nd", Path.unlink, "cannot be read"),
        ("locations.bin", cut, "were written"),
        ("entry.json", cut, "is not what was written"),
        ("entry.json", Path.unlink, "cannot be read"),
        ("entry.json", lambda p: p.write_text("[]"), "is not what was written"),
        ("entry.json", other_shape, "checksum with which it was written"),
        ("entry.json", other_affine, "checksum with which it was written"),
        ("entry.json", record_of_another_shape, "holds float16"),
    ],
)
def test_a_damaged_entry_is_noticed_and_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, spoil, why: str
) -> None:
    cohort = write_cohort(tmp_path, 2)
    first, other = store_at(tmp_path).prepare(cohort, cohort.scans)
    image = np.asarray(first.image[:])
    spoil(first.folder / name)
    before = other.folder.stat().st_mtime_ns
    again, same = store_at(tmp_path).prepare(cohort, cohort.scans)
    assert f"{first.folder}: was damaged" in caplog.text
    assert why in caplog.text
    np.testing.assert_array_equal(np.asarray(again.image[:]), image)
    assert same.folder.stat().st_mtime_ns == before
    assert len(contents(tmp_path)) == 2


@pytest.mark.parametrize("name", ["image.b2nd", "codes.b2nd", "locations.bin"])
def test_checksums_find_single_bytes(tmp_path: Path, name: str) -> None:
    cohort = write_cohort(tmp_path, 1)
    store = store_at(tmp_path)
    (entry,) = store.prepare(cohort, cohort.scans)
    content = (entry.folder / name).read_bytes()
    flip(entry.folder / name)
    (found,) = store.examine(cohort, cohort.scans, verify=True)
    assert [problem.kind for problem in found.problems] == ["damaged-entry"]
    assert name in found.problems[0].found
    assert (entry.folder / name).read_bytes() == content


def test_a_damaged_entry_whose_inputs_are_gone_is_a_problem(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    (entry,) = store_at(tmp_path).prepare(cohort, cohort.scans)
    cut(entry.folder / "image.b2nd")
    label = cohort.scans[0].label
    assert label is not None
    label.unlink()
    with pytest.raises(DataError, match=r"labels\.nii\.gz cannot be read"):
        store_at(tmp_path).prepare(cohort, cohort.scans)
