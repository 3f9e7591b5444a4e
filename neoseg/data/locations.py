"""Bounded samples of voxel positions per label value that can be merged without a trace.

A class-balanced sampler needs some positions of each class. Keeping "the first n" of each stored
label would betray labels that a protocol hides: after merging, small structures would be
over-represented. A bottom-k sample (the k positions with the smallest hash) has no such memory: the
bottom k of a union are the bottom k of the bottom k's, so a merged label set yields the very
sample that it would have yielded had its members never been told apart.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neoseg.data.nifti import DataError


def hashes(positions: np.ndarray) -> np.ndarray:
    """Return uint64 hashes of flat voxel positions (the splitmix64 finaliser)."""
    z = positions.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bottom_k(positions: np.ndarray, k: int) -> np.ndarray:
    """Return the k positions (int64) with the smallest hash, ordered by hash."""
    if positions.size == 0:
        return positions.astype(np.int64)
    values = hashes(positions)
    if positions.size > k:
        keep = np.argpartition(values, k - 1)[:k]
        positions, values = positions[keep], values[keep]
    return positions[np.argsort(values, kind="stable")].astype(np.int64)


def sample_locations(codes: np.ndarray, k: int) -> dict[int, np.ndarray]:
    """Return for each code in a `[X, Y, Z]` volume at most k flat (C-order) positions."""
    flat = codes.ravel()
    order = np.argsort(flat, kind="stable")
    found, starts = np.unique(flat[order], return_index=True)
    return {
        int(code): bottom_k(group, k)
        for code, group in zip(found, np.split(order, starts[1:]), strict=True)
    }


def merge_locations(
    locations: dict[int, np.ndarray], lookup: np.ndarray, k: int
) -> dict[int, np.ndarray]:
    """Return the samples after codes were mapped by `lookup` (uint8 `[256]`)."""
    groups: dict[int, list[np.ndarray]] = {}
    for code, positions in locations.items():
        groups.setdefault(int(lookup[code]), []).append(positions)
    return {code: bottom_k(np.concatenate(parts), k) for code, parts in sorted(groups.items())}


def read_located(path: Path) -> tuple[int, ...]:
    """Return the codes of which a file of positions has some; raises `DataError`."""
    with _opened(path) as archive:
        return tuple(map(int, archive.files))


def read_locations(path: Path, codes: Iterable[int] | None = None) -> dict[int, np.ndarray]:
    """Read the positions of some codes, or of all; nothing else of the file is read.

    Raises:
        DataError: a file that is damaged, or that holds more than numbers.
    """
    with _opened(path) as archive:
        wanted = archive.files if codes is None else map(str, codes)
        return {int(key): archive[key] for key in wanted}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not what was written ({error}); delete {path.parent}, it is made again"
        ) from None
