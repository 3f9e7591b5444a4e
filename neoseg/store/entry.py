"""Entries of the store: the files of one prepared scan, and checks of their integrity."""

import json
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from neoseg.cohort import Problem, Scan
from neoseg.foreign import read_json
from neoseg.store.arrays import mapped, open_array, unpacking
from neoseg.store.damage import DataError
from neoseg.store.locations import read_located, read_locations
from neoseg.store.preprocess import Geometry
from neoseg.store.settings import PrepareSettings

RECORD, IMAGE, CODES, LOCATIONS = "entry.json", "image.b2nd", "codes.b2nd", "locations.bin"

CHECKSUM = "crc32"
"""Key in the record of its own checksum."""

CHUNK, BLOCK = 64, 16
"""Edge length in voxels of blosc2 chunks (compressed together) and blocks (unpacked at a time).

Independent of the patch size, so that all runs of a sweep share one store. Small blocks suit every
patch size: compared with blocks of 32 voxels, blocks of 16 take a quarter of the time for a patch
of 48, half for a slice, and no more for patches of 128.
"""


class DamagedError(Exception):
    """An incomplete or damaged entry; it can be rebuilt."""


@dataclass(frozen=True)
class StoreEntry:
    """One prepared scan: `image.b2nd` `[images, X, Y, Z]`, `codes.b2nd` uint8 `[X, Y, Z]` (native
    codes, absent if the scan has no labels), `entry.json`, `locations.bin`.

    Only images that the scan has are stored, so that runs with more modalities share the entry.
    `labels` is a folder whose codes and positions replace those of the entry: pseudo-labels, which
    are rows of a run's codebook.
    """

    scan: Scan
    folder: Path
    geometry: Geometry
    labels: Path | None = None

    @property
    def annotated(self) -> bool:
        """Whether the scan has a label file, or pseudo-labels in place of one."""
        return self.labels is not None or (self.folder / CODES).exists()

    def _of_labels(self, name: str) -> Path:
        return (self.labels or self.folder) / name

    @property
    def image(self) -> blosc2.NDArray:
        """Memory-mapped float `[images, X, Y, Z]` of the available images; index it to read."""
        return self._open(self.folder / IMAGE)

    @property
    def codes(self) -> blosc2.NDArray:
        """Memory-mapped stored codes, uint8 `[X, Y, Z]`."""
        return self._open(self._of_labels(CODES))

    def read_image(self, block: tuple[slice, ...] = ()) -> np.ndarray:
        """Read a block of voxels (by default all) as float `[M, ...]`; 0 for missing images.

        Raises:
            DataError: the file is damaged.
        """
        with unpacking(self.folder / IMAGE):
            stored = np.asarray(self.image[(slice(None), *block)])
        present = [path is not None for path in self.scan.images]
        if all(present):
            return stored
        image = np.zeros((len(present), *stored.shape[1:]), stored.dtype)
        image[present] = stored
        return image

    def read_codes(self, block: tuple[slice, ...] = ()) -> np.ndarray:
        """Read the stored codes of a block of voxels (by default all); raises `DataError`."""
        if self.labels is None:
            with unpacking(self.folder / CODES):
                return np.asarray(self.codes[block or slice(None)])
        path = self.labels / CODES
        try:
            return np.asarray(mapped(path)[block or slice(None)])
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); delete {self.labels} and start the run again, "
                "which predicts these labels anew and goes on"
            ) from None

    def _open(self, path: Path) -> blosc2.NDArray:
        try:
            return mapped(path)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{path} was whole when the run began and cannot be read now "
                f"({error}); start the run again, which builds it anew and goes on"
            ) from None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Prepared shape."""
        return self.geometry.prepared_shape

    def located(self) -> tuple[int, ...]:
        """Return the stored codes that occur in the scan."""
        return read_located(self._of_labels(LOCATIONS))

    def locations(self, codes: Iterable[int] | None = None) -> dict[int, np.ndarray]:
        """Return sampled positions of the given stored codes, by default of all that occur."""
        return read_locations(self._of_labels(LOCATIONS), codes)


def open_entry(scan: Scan, folder: Path, verify: bool = False) -> tuple[StoreEntry, dict[str, Any]]:
    """Return an entry and its record after checking that no file is missing or truncated.

    Sizes, shapes and types are always checked, which takes a millisecond; `verify` also reads every
    byte and compares checksums.

    Raises:
        DamagedError: the message says what is wrong.
    """
    try:
        record = read_json(folder / RECORD, within=folder)
        if record.pop(CHECKSUM) != _checksum_of(record):
            raise DamagedError(f"{RECORD} does not have the checksum with which it was written")
        geometry, files = Geometry.from_dict(record["geometry"]), record["content"]
        n_images = sum(path is not None for path in scan.images)
        if (CODES in files) != (scan.label is not None) or record["channels"] != n_images:
            raise DamagedError(f"{RECORD} does not fit the scan")
        if not {IMAGE} <= set(files) <= {IMAGE, CODES, LOCATIONS}:
            raise DamagedError(f"{RECORD} names other files than an entry has")
        _require_valid(record)
        for name, expected in files.items():
            _check_file(folder / name, expected, verify)
        _check_array(folder / IMAGE, (record["channels"], *geometry.prepared_shape), record["type"])
        if CODES in files:
            _check_array(folder / CODES, geometry.prepared_shape, "uint8")
    except OSError as error:
        name = Path(error.filename or folder).name
        raise DamagedError(f"{name} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{RECORD} is not what was written ({error!r})") from None
    return StoreEntry(scan, folder, geometry), record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of an entry with size and checksum of its files, and its own checksum.

    The other files have to be written before.
    """
    complete = {**record, "content": _describe_files(folder)}
    text = json.dumps({**complete, CHECKSUM: _checksum_of(complete)}, indent=1)
    (folder / RECORD).write_text(text, encoding="utf-8")


def _checksum_of(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _describe_files(folder: Path) -> dict[str, dict[str, int]]:
    """Return size and checksum of every file in a folder."""
    files = sorted(folder.iterdir())
    return {p.name: {"bytes": p.stat().st_size, "crc32": _checksum(p)} for p in files}


def _require_valid(record: Mapping[str, Any]) -> None:
    """Raise `ValueError`, `TypeError` or `KeyError` if a field of the record is malformed."""
    for raw in record["findings"]:
        Problem.from_dict(raw)
    if not all(isinstance(count, int) and count >= 0 for count in record["voxels"]):
        raise ValueError("counts of voxels")
    if "planes" in record and record["voxels"]:
        parts = [record[name] for name in ("voxels", "inside", "planes")]
        whole = all(part is None or len(part) == 3 for part in record["planes"])
        if len(set(map(len, parts))) > 1 or not whole:
            raise ValueError("where labels lie")
    PrepareSettings.model_validate(record["settings"])
    if not isinstance(record["digest"], str) or "foreground" not in record["settings"]:
        raise ValueError("digest or settings")
    record["mask"]


def _check_file(path: Path, wanted: Mapping[str, int], verify: bool) -> None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise DamagedError(f"{path.name} is not a regular file")
    size = status.st_size
    if size != wanted["bytes"]:
        raise DamagedError(f"{path.name} has {size} bytes, {wanted['bytes']} were written")
    if verify and _checksum(path) != wanted["crc32"]:
        raise DamagedError(f"{path.name} does not have the checksum with which it was written")


def _check_array(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    try:
        array = open_array(path)
    except (RuntimeError, ValueError) as error:
        raise DamagedError(f"{path.name} cannot be opened ({error})") from None
    if tuple(array.shape) != tuple(shape) or str(array.dtype) != dtype:
        actual = f"{array.dtype} {tuple(array.shape)}"
        raise DamagedError(f"{path.name} holds {actual}, not {dtype} {tuple(shape)}")


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a compressed array `[..., X, Y, Z]` in chunks and blocks of spatial cubes.

    LZ4 takes 5 % more disk space than Zstandard and decompresses a patch of 48 voxels in half the
    time. Floats are byte-shuffled first, codes are not.
    """
    leading = (1,) * (array.ndim - 3)
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(path),
        mode="w",
        chunks=leading + tuple(min(CHUNK, length) for length in array.shape[-3:]),
        blocks=leading + tuple(min(BLOCK, length) for length in array.shape[-3:]),
        cparams={
            "codec": blosc2.Codec.LZ4HC,
            "clevel": 5,
            "nthreads": 1,
            "filters": [blosc2.Filter.NOFILTER if array.itemsize == 1 else blosc2.Filter.SHUFFLE],
            "filters_meta": [0],
        },
    )
