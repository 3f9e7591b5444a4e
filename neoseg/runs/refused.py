"""Leave a run as it was if it is started or resumed with what cannot work."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neoseg.augment.torchio_transforms import TransformError
from neoseg.buildable import TargetError
from neoseg.failure import forget_failure
from neoseg.files import find, write_bytes
from neoseg.findings.problems import CohortError
from neoseg.findings.settings import ConfigError, WrongKeysError
from neoseg.foreign import CONFIG, ForeignError
from neoseg.inference.checkpoint import BEST, LAST
from neoseg.labels import LabelError
from neoseg.losses.registry import LossError
from neoseg.networks.build import NetworkError
from neoseg.own_code import CODE
from neoseg.processes import is_first_process
from neoseg.runs.folder import INIT, RECORD
from neoseg.runs.origin import CHANGES
from neoseg.runs.people import IMAGES, PLAN, SCANS, SEEN, SPLIT
from neoseg.runs.start import TRANSLATION
from neoseg.runs.start_command import COMMAND
from neoseg.store.damage import DataError
from neoseg.tracking import METRICS

log = logging.getLogger(__name__)

DESCRIBING = (
    *(CONFIG, SPLIT, PLAN, SCANS, SEEN, IMAGES, CODE, CHANGES, RECORD),
    *(TRANSLATION, INIT, COMMAND),
)
"""Files of a run folder that say what the run is, rewritten when it is resumed."""

REFUSALS = (
    *(ConfigError, WrongKeysError, CohortError, DataError, LabelError, ForeignError),
    *(NetworkError, LossError, TargetError, TransformError),
)
"""What says that a run cannot be as it is asked for, before it makes any step."""


@contextmanager
def restored_if_refused(folder: Path, resuming: bool) -> Iterator[None]:
    """Put the describing files of a run back if the block fails before it saves any step.

    With the settings of a refused attempt in them, the run could never be resumed again, or a new
    one be started with others in its folder. A finished run stays one, which has not failed. A
    training that fails while it makes its first steps was not refused, unless it is a resumed one.
    """
    kept = {name: _content(folder / name) for name in DESCRIBING}
    saved = _checkpoints(folder)
    try:
        yield
    except Exception as error:
        is_refusal = isinstance(error, REFUSALS) and not (folder / METRICS).exists()
        if not (resuming or is_refusal):
            raise
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
            if kept[CONFIG] is not None:
                log.info("the settings and the plan of %s are as they were", folder)
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _checkpoints(folder: Path) -> dict[Path, int]:
    """Return the checkpoints of all stages of a run, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in find(folder, (BEST, LAST))}
