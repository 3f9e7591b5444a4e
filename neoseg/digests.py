"""Digests of files and settings: the cache keys of everything that is kept, never file names.

Whether a result exists already (a store entry, a run, a segmentation, a pseudo-label) is decided
by comparing the digest of its inputs with the digest of the requested ones.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from neoseg.files import halves_of, write_text

State = tuple[int, ...]
"""Identifies an unchanged file: inode, size in bytes, times (ns) of content and inode change."""

SETTLED = 3.0
"""Seconds after which a further change of a file alters its timestamps on every file system."""

_known: dict[str, tuple[State, str]] = {}
"""State and digest of each file by absolute path, in this process; changed files are reread."""


def digest_of(path: Path) -> str:
    """Return the hex digest of a file's bytes, cached for as long as the file stays unchanged.

    For a pair .hdr and .img, the digest covers both files.

    Raises:
        OSError: the file cannot be read.
    """
    halves = [half for half in dict.fromkeys(halves_of(path)) if half == path or half.is_file()]
    if len(halves) == 1:
        return _digest_of_file(path)
    return digest_of_content([_digest_of_file(half) for half in halves])


def _digest_of_file(path: Path) -> str:
    name, state = os.path.abspath(path), _state(path)
    if name in _known and _known[name][0] == state:
        return _known[name][1]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    # A recently written file may change again within one tick of the file system's clock.
    if max(state[2:]) < (time.time() - SETTLED) * 1e9 and state == _state(path):
        _known[name] = (state, digest)
    return digest


def digest_of_content(content: Any) -> str:
    """Return a digest (16 hex digits) of plain containers, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def digests_kept(path: Path) -> Iterator[None]:
    """Load digests that earlier processes saved in a file, and save new ones after the block.

    If the file is absent, damaged or cannot be written, digests are just computed again.
    """
    earlier: dict[str, tuple[State, str]] = {}
    with suppress(OSError, ValueError, TypeError, AttributeError):
        raw = json.loads(path.read_text(encoding="utf-8"))
        earlier = {str(k): (tuple(map(int, state)), str(d)) for k, (state, d) in raw.items()}
    _known.update({name: entry for name, entry in earlier.items() if name not in _known})
    try:
        yield
    finally:
        if any(earlier.get(name) != entry for name, entry in _known.items()):
            with suppress(OSError):
                write_text(path, json.dumps(earlier | _known))


def _state(path: Path) -> State:
    stat = os.stat(path)
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
