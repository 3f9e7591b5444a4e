"""Write files atomically, and find files while other processes write."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

COMPRESSION = 4
"""Of NIfTI files; more costs time and saves little."""


@contextmanager
def replacing(path: Path, draft: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it at the end, or remove it on an error.

    The content is flushed to disk before the rename. The temporary name keeps the suffixes, as
    some writers infer their format from them; a killed process leaves a hidden file, which all
    readers ignore.

    Args:
        path: the final file; its folder is created if missing.
        draft: the temporary name, for a file that only one process writes at a time: a later call
            then overwrites the leftover of a killed one. None gives a unique name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(draft or f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; rename it at the end, remove it on an error.

    Only one process may build a folder at a time: leftovers of a killed one are deleted first.
    """
    draft = folder.with_name(f".draft-{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        for path in draft.iterdir():
            flush(path)
        flush(draft)
        draft.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def halves_of(path: Path) -> tuple[Path, Path]:
    """Return the header and voxel files: a pair .hdr and .img has two, others `path` twice."""
    suffix = {".hdr": ".img", ".img": ".hdr"}.get(path.suffix.lower())
    if suffix is None:
        return path, path
    partner = path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)
    return (path, partner) if suffix == ".img" else (partner, path)


def find(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the files below `folder` (or in it) that have one of the names, sorted."""
    return sorted(path for path in files_below(folder) if path.name in names)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, also through links to folders, each folder once.

    Hidden folders are skipped, and links to what holds the folder itself. Folders come before links
    that lead to them. Other processes may
    write and delete below `folder` meanwhile; `Path.rglob` would raise if a folder vanished before
    being listed.
    """
    visited = {os.path.realpath(parent) for parent in Path(os.path.realpath(folder)).parents}
    places = [str(folder)]
    for start in places:  # which grows by the links that are found
        for place, folders, files in os.walk(start):
            real = os.path.realpath(place)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = (os.path.join(place, name) for name in folders)
            places += [path for path in paths if os.path.islink(path)]
            yield from (Path(place, name) for name in files)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a compressed NIfTI, in mm; equal arrays give equal bytes, whatever the time is."""
    import nibabel as nib

    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    if abs(image.get_qform() - affine).max() > 1e-3:  # sheared, which a qform cannot say
        image.set_qform(None, code=0)
    # nibabel's own .gz writer stores the file name and time in the gzip header.
    write_bytes(path, gzip.compress(image.to_bytes(), COMPRESSION, mtime=0))


def write_figure(path: Path, figure: Figure, **how: Any) -> None:
    """Write a figure atomically, in the format of the suffix of `path`.

    It is drawn in memory first: some of matplotlib's writers hide that a disk is full.
    """
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], **how)
    write_bytes(path, content.getvalue())


def write_json(path: Path, content: Any, **how: Any) -> None:
    """Write JSON and a newline atomically; `how` are keyword arguments of `json.dumps`."""
    write_text(path, json.dumps(content, **how) + "\n")


def flush(path: Path) -> None:
    """Flush a file or folder to disk, if the file system supports it.

    Raises:
        OSError: the disk is full or broken; ignored for a folder.
    """
    is_folder = path.is_dir()
    try:
        # Windows flushes only files that are opened for writing.
        handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    except OSError:
        if is_folder:  # Windows cannot open folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError:
        if not is_folder:
            raise
    finally:
        os.close(handle)
