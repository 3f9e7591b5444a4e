"""A run that starts from a trained network, and the file that tells what came from where."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from neoseg.configuration.run import RunConfig
from neoseg.files import write_text
from neoseg.foreign import ForeignError, read_json
from neoseg.foreign.values import value_at
from neoseg.processes import is_first_process
from neoseg.training.module import SegmentationModule
from neoseg.training.warm_start import Source, report_table, start

log = logging.getLogger(__name__)

INIT = "init.json"
"""In the folder of a run that started from another network: what came from where."""


def warm_start(run: RunConfig, folder: Path, module: SegmentationModule) -> None:
    """Give the networks of a module the weights that a run starts from; tell and keep what is new.

    Raises:
        ConfigError, LabelError: as `Source.read` and `start`.
    """
    if run.init_from is None:
        return
    report = start(module, Source.read(run.init_from, run.allow), run.init.map)
    if is_first_process():
        write_text(folder / INIT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        Console().print(report_table(report))
    lost = [row["class"] for row in report["classes"] if row["from"] == "drawn"]
    if lost:
        log.info("drawn, since the old table has nothing like it: %s", ", ".join(lost))


def started_from(folder: Path) -> dict[str, Any] | None:
    """Return which network a run started from, for its record; None where it was drawn."""
    if not (folder / INIT).is_file():
        return None
    try:
        report = read_json(folder / INIT, within=folder)
        return {key: value_at(report, key) for key in ("from", "fingerprint", "share")}
    except ForeignError as error:
        log.warning("%s", error)
        return None
