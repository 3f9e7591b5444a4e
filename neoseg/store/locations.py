"""Bounded samples of voxel positions per label value that stay unbiased under merging.

A class-balanced sampler needs some positions of each class. Keeping "the first n" of each stored
label would leak labels that a protocol hides: after merging, small structures would be
over-represented. A bottom-k sample (the k positions with the smallest hash) avoids this: the bottom
k of a union are the bottom k of its parts' bottom k. A merged label set therefore yields exactly
the sample that it would have yielded if its members had never been distinguished.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neoseg.labels import MAX_CODES
from neoseg.store.damage import DataError

DTYPE = np.dtype("<i8")
"""Data type of positions in a file."""


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
    """Return up to k flat (C-order) positions for each code in a `[X, Y, Z]` volume."""
    flat = codes.ravel()
    order = np.argsort(flat, kind="stable")
    values, starts = np.unique(flat[order], return_index=True)
    return {
        int(code): bottom_k(group, k)
        for code, group in zip(values, np.split(order, starts[1:]), strict=True)
    }


def merge_locations(
    locations: dict[int, np.ndarray], lookup: np.ndarray, k: int
) -> dict[int, np.ndarray]:
    """Return the samples that result from mapping codes by `lookup` (uint8 `[256]`)."""
    groups: dict[int, list[np.ndarray]] = {}
    for code, positions in locations.items():
        groups.setdefault(int(lookup[code]), []).append(positions)
    return {code: bottom_k(np.concatenate(parts), k) for code, parts in sorted(groups.items())}


def write_locations(path: Path, locations: Mapping[int, np.ndarray]) -> None:
    """Write positions as plain numbers: the counts of all 256 codes, then the positions by code.

    Sampling a patch needs a few thousand positions, for which an archive format would cost more in
    headers than in data. Size and checksum are in the entry's record.
    """
    counts = np.zeros(MAX_CODES, dtype=DTYPE)
    for code, positions in locations.items():
        counts[code] = len(positions)
    blocks = [locations[code].astype(DTYPE) for code in sorted(locations)]
    np.concatenate([counts, *blocks]).tofile(path)


def read_located(path: Path) -> tuple[int, ...]:
    """Return the codes for which a file has positions; raises `DataError`."""
    with _opened(path) as (counts, _):
        return tuple(map(int, np.flatnonzero(counts)))


def read_locations(path: Path, codes: Iterable[int] | None = None) -> dict[int, np.ndarray]:
    """Read the positions (int64) of the given codes, by default all, and no other part of the file.

    Raises:
        DataError: the file is damaged.
    """
    with _opened(path) as (counts, file):
        starts = np.cumsum(counts) - counts + MAX_CODES
        positions = {}
        for code in np.flatnonzero(counts) if codes is None else codes:
            file.seek(int(starts[code]) * DTYPE.itemsize)
            positions[int(code)] = np.fromfile(file, DTYPE, int(counts[code])).astype(np.int64)
        return positions


@contextmanager
def _opened(path: Path) -> Iterator[tuple[np.ndarray, BinaryIO]]:
    """Open a file of positions after checking its size; yield the count per code and the file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            counts = np.fromfile(file, DTYPE, MAX_CODES)
            sane = len(counts) == MAX_CODES and counts.min() >= 0 and counts.max() <= size
            if not sane or (int(counts.sum()) + MAX_CODES) * DTYPE.itemsize != size:
                raise ValueError(f"its {size} bytes are not the positions that it counts")
            yield counts, file
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not what was written ({error}); delete {path.parent}, it is made again"
        ) from None
