"""Time and energy of a run over all its starts, kept in `effort.json` in its folder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from neoseg.files import write_json
from neoseg.foreign import read_json
from neoseg.processes import is_first_process
from neoseg.runs.energy import EnergyMeter

log = logging.getLogger(__name__)

EFFORT = "effort.json"
_PERIOD = 30.0
"""Seconds between two notes: at most so many of a killed process are not counted."""


class Effort:
    """What a run has cost so far, with what its earlier starts have noted."""

    def __init__(self, earlier: Mapping[str, float | None], meter: EnergyMeter) -> None:
        self._earlier = earlier
        self._meter = meter
        self._started = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds of all starts, pauses between them not counted."""
        return (self._earlier.get("seconds") or 0.0) + time.monotonic() - self._started

    def joules(self) -> dict[str, float | None]:
        """Return the energy of all starts by kind of device.

        None where it cannot be measured now, or could not in an earlier start.
        """
        total: dict[str, float | None] = {}
        for kind, now in self._meter.joules().items():
            before = self._earlier.get(kind) if self._earlier else 0.0
            total[kind] = None if now is None or before is None else round(before + now, 1)
        return total

    def note(self, folder: Path) -> None:
        """Write what the next start has to add."""
        content = {"seconds": round(self.seconds(), 1), **self.joules()}
        try:
            write_json(folder / EFFORT, content)
        except OSError as error:  # a full disk ends the run where it loses something
            log.warning("%s cannot be written (%s)", folder / EFFORT, error)


@contextmanager
def effort_counted(folder: Path, period: float = _PERIOD) -> Iterator[Effort]:
    """Count what the run in `folder` costs, and keep it for the next start however the block ends.

    Of several processes the first one writes, every `period` seconds.
    """
    effort = Effort(_noted(folder), EnergyMeter())
    if not is_first_process():
        yield effort
        return
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(period):
            effort.note(folder)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield effort
    finally:
        stop.set()
        thread.join()
        effort.note(folder)


def _noted(folder: Path) -> dict[str, float | None]:
    """Return what earlier starts have noted, nothing where there was none."""
    path = folder / EFFORT
    if not path.exists():
        return {}
    try:
        content = read_json(path, within=folder)
        values = {str(k): None if v is None else float(v) for k, v in content.items()}
        if values["seconds"] is None:
            raise ValueError("no seconds")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%r): time and energy count from now on", path, error)
        return {}
    return values
