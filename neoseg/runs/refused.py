"""Leave a run as it was if it is resumed with what cannot work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neoseg.failure import FAILED
from neoseg.files import find, replacing
from neoseg.foreign import CONFIG
from neoseg.inference.checkpoint import BEST, LAST
from neoseg.processes import is_first_process
from neoseg.runs.folder import RECORD
from neoseg.runs.origin import CHANGES
from neoseg.runs.people import PLAN, SCANS, SEEN, SPLIT

log = logging.getLogger(__name__)

DESCRIBING = (CONFIG, SPLIT, PLAN, SCANS, SEEN, CHANGES, RECORD, FAILED)
"""Files of a run folder that say what the run is and how it ended, rewritten on resuming."""


@contextmanager
def restored_if_refused(folder: Path) -> Iterator[None]:
    """Put the describing files of a run back if the block fails before it saves any step.

    With the settings of a refused attempt in them, the run could never be resumed again.
    """
    kept = {name: _content(folder / name) for name in DESCRIBING}
    saved = _checkpoints(folder)
    try:
        yield
    except Exception:
        if is_first_process() and _checkpoints(folder) == saved:
            for name, content in kept.items():
                if content is None:
                    (folder / name).unlink(missing_ok=True)
                elif content != _content(folder / name):
                    with replacing(folder / name) as draft:
                        draft.write_bytes(content)
            log.info("%s is as it was before", folder)
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _checkpoints(folder: Path) -> dict[Path, int]:
    """Return the checkpoints of all stages of a run, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in find(folder, (BEST, LAST))}
