from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neoseg.data.arrays import KEPT, mapped
from neoseg.data.entry import write_array


def write(path: Path, value: int) -> Path:
    write_array(path, np.full((4, 5, 6), value, np.uint8))
    return path


def test_the_last_ones_stay_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.b2nd", 3)
    assert mapped(path) is mapped(path)
    assert (mapped(path)[:] == 3).all()


def test_a_file_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.b2nd", 3)
    assert mapped(path)[0, 0, 0] == 3
    write(tmp_path / "b.b2nd", 4).replace(path)
    assert mapped(path)[0, 0, 0] == 4


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files cannot be counted here")
def test_open_files_do_not_grow_with_the_number_of_scans(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}.b2nd", number) for number in range(3 * KEPT)]
    before = len(os.listdir("/proc/self/fd"))
    assert [mapped(path)[0, 0, 0] for path in paths] == list(range(3 * KEPT))
    assert len(os.listdir("/proc/self/fd")) <= before + KEPT


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        mapped(tmp_path / "nowhere.b2nd")
