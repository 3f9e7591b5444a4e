"""Arrays of a store are opened as numbers, or not at all."""

from __future__ import annotations

from pathlib import Path

import blosc2
import numpy as np
import pytest
from small_cohort import write_cohort

from neoseg.store import DataError, PrepareSettings
from neoseg.store.arrays import open_array
from neoseg.store.entry import write_array
from neoseg.store.store import Store


def test_a_plain_array_opens(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    write_array(tmp_path / "a.b2nd", array)
    np.testing.assert_array_equal(open_array(tmp_path / "a.b2nd")[:], array)


def recipe(path: Path) -> None:
    operand = blosc2.asarray(np.arange(10.0), urlpath=str(path.with_name("x.b2nd")), mode="w")
    (operand + 1).save(urlpath=str(path))


def raw_chunks(path: Path) -> None:
    blosc2.SChunk(data=b"1" * 100, urlpath=str(path), mode="w")


def texts(path: Path) -> None:
    blosc2.asarray(np.array(["a", "b"]), urlpath=str(path), mode="w")


@pytest.mark.parametrize("write", [recipe, raw_chunks, texts])
def test_what_is_no_plain_array_is_refused(tmp_path: Path, write) -> None:
    write(tmp_path / "a.b2nd")
    with pytest.raises(ValueError, match="not a plain array of numbers"):
        open_array(tmp_path / "a.b2nd")


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 200])
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.b2nd").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        open_array(tmp_path / "a.b2nd")
    with pytest.raises(FileNotFoundError):
        open_array(tmp_path / "b.b2nd")


def test_a_store_of_a_stranger(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1)
    store = Store(tmp_path / "store", PrepareSettings())
    (entry,) = store.prepare(cohort, cohort.scans)
    # An array that is a recipe is taken for damage: the entry is built again from the scan.
    recipe(entry.folder / "image.b2nd")
    (again,) = Store(tmp_path / "store", PrepareSettings()).prepare(cohort, cohort.scans)
    assert again.image.shape[1:] == again.shape
    recipe(again.folder / "codes.b2nd")
    with pytest.raises(DataError, match="cannot be read now"):
        _ = again.codes


def test_arrays_are_unpacked_by_one_thread(tmp_path: Path) -> None:
    write_array(tmp_path / "a.b2nd", np.zeros((8, 8, 8), np.uint8))
    assert open_array(tmp_path / "a.b2nd").schunk.dparams.nthreads == 1
