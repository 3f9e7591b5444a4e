"""The prepared store: each scan read once, kept as compressed, memory-mapped chunks."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from filelock import FileLock

from neoseg.cohort import Cohort, Scan
from neoseg.data.locations import sample_locations
from neoseg.data.preprocess import Geometry, PrepareSettings, prepare_images, prepare_labels
from neoseg.data.volume import DataError, read_volume, require_same_grid
from neoseg.labels import Convention, LabelError

log = logging.getLogger(__name__)

LAYOUT = 1
"""Version of the entry layout; raise it when entries written before can no longer be read."""

CHUNK = (32, 32, 32)


@dataclass(frozen=True)
class StoreEntry:
    """One prepared scan: `image.b2nd` `[M, X, Y, Z]`, `codes.b2nd` uint8 `[X, Y, Z]` (native
    codes, absent where the scan has no labels), `entry.json`, `locations.npz`.
    """

    scan: Scan
    folder: Path
    geometry: Geometry

    @property
    def annotated(self) -> bool:
        """Whether the scan came with a label file."""
        return (self.folder / "codes.b2nd").exists()

    @cached_property
    def image(self) -> blosc2.NDArray:
        """Float `[M, X, Y, Z]`, memory-mapped; index it to read a block."""
        return blosc2.open(str(self.folder / "image.b2nd"), mode="r", mmap_mode="r")

    @cached_property
    def codes(self) -> blosc2.NDArray:
        """Uint8 native codes `[X, Y, Z]`, memory-mapped."""
        return blosc2.open(str(self.folder / "codes.b2nd"), mode="r", mmap_mode="r")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Prepared shape."""
        return self.geometry.prepared_shape

    def locations(self) -> dict[int, np.ndarray]:
        """Bounded positions per native code."""
        with np.load(self.folder / "locations.npz", allow_pickle=False) as archive:
            return {int(key): archive[key] for key in archive.files}

    def __getstate__(self) -> dict[str, Any]:
        # Open arrays do not travel to loader workers; each opens its own mapping.
        return {k: self.__dict__[k] for k in ("scan", "folder", "geometry")}


class Store:
    """Entries below one root, keyed by a fingerprint of input files and settings."""

    def __init__(self, root: Path, settings: PrepareSettings) -> None:
        self.root = root
        self.settings = settings

    def folder(self, scan: Scan, cohort: Cohort) -> Path:
        """Return where the entry of a scan lies, whether or not it is there yet."""
        key = fingerprint(scan, cohort.convention, self.settings)
        return self.root / cohort.name / f"{scan.id}-{key}"

    def prepare(
        self, cohort: Cohort, scans: Sequence[Scan], progress: Callable[[str], None] | None = None
    ) -> list[StoreEntry]:
        """Return the entries of `scans` in order, building what is missing.

        Raises:
            DataError: after all scans were tried, listing every problem that was found.
        """
        entries, problems = [], []
        for scan in scans:
            try:
                entries.append(self._entry(scan, cohort))
            except (DataError, LabelError) as error:
                problems.append(f"  {scan.id}: {error}")
            if progress is not None:
                progress(scan.id)
        if problems:
            raise DataError(
                f"{len(problems)} of {len(scans)} scans of cohort '{cohort.name}' cannot be used:\n"
                + "\n".join(problems)
                + "\nrepair them, or leave them out with cohort.exclude=[...]"
            )
        return entries

    def _entry(self, scan: Scan, cohort: Cohort) -> StoreEntry:
        folder = self.folder(scan, cohort)
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f"{folder.name}.lock")):
                if not folder.exists():
                    self._build(scan, cohort.convention, folder)
        record = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        return StoreEntry(scan, folder, Geometry.from_dict(record["geometry"]))

    def _build(self, scan: Scan, convention: Convention, folder: Path) -> None:
        """Write an entry beside its final name, then rename it, so that it is whole or absent.

        The caller holds the entry's lock, so a draft that is there was left by a killed process.
        """
        image, geometry = prepare_images(scan.images, self.settings)
        draft = folder.with_name(f".draft-{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir()
            write_array(draft / "image.b2nd", image.astype(self.settings.dtype))
            if scan.label is not None:
                codes = prepare_labels(read_codes(scan, convention, geometry), geometry)
                write_array(draft / "codes.b2nd", codes)
                found = sample_locations(codes, self.settings.locations)
                samples: dict[str, Any] = {str(code): at for code, at in found.items()}
                np.savez(draft / "locations.npz", **samples)
            record = {
                "layout": LAYOUT,
                "scan": scan.id,
                "files": [str(p) for p in (*scan.images, scan.label) if p is not None],
                "settings": self.settings.model_dump(),
                "values": list(convention.values),
                "geometry": geometry.to_dict(),
            }
            (draft / "entry.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def read_codes(scan: Scan, convention: Convention, geometry: Geometry) -> np.ndarray:
    """Return the native codes of a scan's label file on the canonical, uncropped grid.

    Raises:
        DataError: a file that cannot be read or does not lie on the image's grid.
        LabelError: values outside the convention.
    """
    if scan.label is None or scan.images[0] is None:
        raise DataError(f"{scan.id} has no label file")
    labels = read_volume(scan.label, dtype=np.int64)
    affine = np.array(geometry.affine)
    require_same_grid(scan.label, labels, scan.images[0], geometry.shape, affine)
    return convention.encode(labels.data, str(scan.label))


def fingerprint(scan: Scan, convention: Convention, settings: PrepareSettings) -> str:
    """Return 16 hex digits that change with the files' size or time, the settings, the labels.

    The folder in which the files lie does not count, so a moved cohort keeps its entries.
    """
    files: list[list[str | int] | None] = []
    for path in (*scan.images, scan.label):
        if path is None:
            files.append(None)
            continue
        try:
            stat = os.stat(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        files.append([path.name, stat.st_size, stat.st_mtime_ns])
    content = json.dumps(
        [LAYOUT, files, list(convention.values), settings.model_dump()], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a compressed array whose chunks are blocks of `CHUNK` voxels."""
    chunks = (1,) * (array.ndim - 3) + tuple(
        min(c, s) for c, s in zip(CHUNK, array.shape[-3:], strict=True)
    )
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(path),
        mode="w",
        chunks=chunks,
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 3, "nthreads": 1},
    )
