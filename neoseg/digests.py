"""What a file or a setting is, in a few letters: by it all that is kept is judged, never by names.

Whether something is done already (an entry of the store, a run, a segmentation, a pseudo-label) is
asked by comparing the digest of what it was made of with that of what is asked for.
"""

from __future__ import annotations

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
"""By which an unchanged file is known again: its inode, bytes, and times of content and inode."""

SETTLED = 3.0
"""Seconds after which a further change of a file shows in its times on every file system."""

_known: dict[str, tuple[State, str]] = {}
"""Digests of this process by absolute path. A file that changes is read again."""


def digest_of(path: Path) -> str:
    """Return hex digits of the bytes of a file, read once for as long as it stays untouched.

    Of a pair .hdr and .img they are of both.

    Raises:
        OSError: a file that cannot be read.
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
        found = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    # What was just written may be written once more within one tick of the file system's clock.
    if max(state[2:]) < (time.time() - SETTLED) * 1e9 and state == _state(path):
        _known[name] = (state, found)
    return found


def digest_of_content(content: Any) -> str:
    """Return 16 hex digits of plain containers, whatever the order of their keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def digests_kept(path: Path) -> Iterator[None]:
    """Take digests from a file of earlier processes, and add to it those that the block found.

    A file that is absent, damaged or cannot be written costs time and nothing else.
    """
    earlier: dict[str, tuple[State, str]] = {}
    with suppress(OSError, ValueError, TypeError, AttributeError):
        raw = json.loads(path.read_text(encoding="utf-8"))
        earlier = {str(k): (tuple(map(int, state)), str(d)) for k, (state, d) in raw.items()}
    _known.update({name: known for name, known in earlier.items() if name not in _known})
    try:
        yield
    finally:
        if any(earlier.get(name) != known for name, known in _known.items()):
            with suppress(OSError):
                write_text(path, json.dumps(earlier | _known))


def _state(path: Path) -> State:
    stat = os.stat(path)
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
