"""Leave a run as it was if it is resumed with what cannot work."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neoseg.failure import forget_failure
from neoseg.files import find, write_bytes
from neoseg.foreign import CONFIG
from neoseg.inference.checkpoint import BEST, LAST
from neoseg.own_code import CODE
from neoseg.processes import is_first_process
from neoseg.runs.folder import RECORD
from neoseg.runs.origin import CHANGES
from neoseg.runs.people import IMAGES, PLAN, SCANS, SEEN, SPLIT

log = logging.getLogger(__name__)

DESCRIBING = (CONFIG, SPLIT, PLAN, SCANS, SEEN, IMAGES, CODE, CHANGES, RECORD)
"""Files of a run folder that say what the run is, rewritten when it is resumed."""


@contextmanager
def restored_if_refused(folder: Path) -> Iterator[None]:
    """Put the describing files of a run back if the block fails before it saves any step.

    With the settings of a refused attempt in them, the run could never be resumed again. A finished
    run stays one, which has not failed.
    """
    kept = {name: _content(folder / name) for name in DESCRIBING}
    saved = _checkpoints(folder)
    try:
        yield
    except Exception:
        now = {name: _content(folder / name) for name in DESCRIBING}
        concluded = now[RECORD] not in (None, kept[RECORD])
        if is_first_process() and not concluded and _checkpoints(folder) == saved:
            for name in (name for name in DESCRIBING if now[name] != kept[name]):
                content = kept[name]
                if content is None:
                    (folder / name).unlink()
                else:
                    write_bytes(folder / name, content)
            if kept[RECORD] is not None:
                forget_failure(folder)
            log.info("the settings and the plan of %s are as they were", folder)
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _checkpoints(folder: Path) -> dict[Path, int]:
    """Return the checkpoints of all stages of a run, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in find(folder, (BEST, LAST))}
