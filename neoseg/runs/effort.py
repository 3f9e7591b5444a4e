"""Time and energy of a run over all its starts, stored in `effort.json` in its folder."""

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
"""Seconds between two saves, and so the most that a killed process can lose. The counters of
processors, which are read then, wrap around after some minutes."""


class Effort:
    """Time and energy of a run so far, including those recorded by its earlier starts."""

    def __init__(self, earlier: Mapping[str, float | None], meter: EnergyMeter) -> None:
        self._earlier = earlier
        self._meter = meter
        self._started = time.monotonic()

    def seconds(self) -> float:
        """Return the running time of all starts in seconds, without the pauses between them."""
        return (self._earlier.get("seconds") or 0.0) + time.monotonic() - self._started

    def joules(self) -> dict[str, float | None]:
        """Return the energy of all starts by device kind; None if not measured in all of them."""
        total: dict[str, float | None] = {}
        for kind, current in self._meter.joules().items():
            earlier = self._earlier.get(kind) if self._earlier else 0.0
            total[kind] = (
                None if current is None or earlier is None else round(earlier + current, 1)
            )
        return total

    def note(self, folder: Path) -> None:
        """Save the totals for the next start."""
        content = {"seconds": round(self.seconds(), 1), **self.joules()}
        try:
            write_json(folder / EFFORT, content)
        except OSError as error:  # a full disk stops the run only when results would be lost
            log.warning("%s cannot be written (%s)", folder / EFFORT, error)


@contextmanager
def effort_counted(folder: Path, period: float = _PERIOD) -> Iterator[Effort]:
    """Measure time and energy of the run in `folder`, and save them however the block ends.

    The first process saves them, also every `period` seconds.
    """
    effort = Effort(_read_totals(folder), EnergyMeter())
    if not is_first_process():
        yield effort
        return
    stop = threading.Event()

    def save_periodically() -> None:
        while not stop.wait(period):
            effort.note(folder)

    thread = threading.Thread(target=save_periodically, daemon=True)
    thread.start()
    try:
        yield effort
    finally:
        stop.set()
        thread.join()
        effort.note(folder)


def _read_totals(folder: Path) -> dict[str, float | None]:
    """Return the totals saved by earlier starts; empty if there are none."""
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
