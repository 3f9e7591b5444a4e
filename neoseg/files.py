"""Writing files so that they are whole or absent, and finding them while others still write."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, draft: str | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there at the end, or remove it on an error.

    What was written is on the disk before it gets its name. The temporary name keeps the suffixes,
    by which some writers choose their format; a process that is killed leaves a hidden file, which
    no reader takes for anything.

    Args:
        path: the file to be, in a folder that is made where it is missing.
        draft: the temporary name, for a file that one process at a time writes: a later call
            then overwrites what a killed one left. None is a name that nobody else has.
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
    """Give an empty folder beside `folder` to fill; rename it at the end, remove it on an error.

    One process at a time may build a folder: what a killed one has left is deleted first.
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
    """Return the files of header and voxels: two in a pair .hdr and .img, else `path` twice."""
    other = {".hdr": ".img", ".img": ".hdr"}.get(path.suffix.lower())
    if other is None:
        return path, path
    half = path.with_suffix(other.upper() if path.suffix.isupper() else other)
    return (path, half) if other == ".img" else (half, path)


def find(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the files below `folder` (or in it) that have one of the names, sorted.

    Hidden folders are not searched. Another process may write and delete below `folder` meanwhile;
    `Path.rglob` ends with an error where a folder goes before it was listed.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if name in names]
    return sorted(found)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any, **how: Any) -> None:
    """Write JSON and the end of a line, whole or not at all; `how` is what `json.dumps` takes."""
    write_text(path, json.dumps(content, **how) + "\n")


def flush(path: Path) -> None:
    """Bring a file or folder to the disk, where the file system can.

    Raises:
        OSError: if the disk turns out to be full or broken; a folder's is not told.
    """
    is_folder = path.is_dir()
    try:
        # Windows flushes what was opened for writing alone.
        handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    except OSError:
        if is_folder:  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError:
        if not is_folder:
            raise
    finally:
        os.close(handle)
