"""Tables and figures over runs: `python -m neoseg.report runs=DIR output=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from neoseg.command import command
from neoseg.evaluation import report

log = logging.getLogger(__name__)


@command("report")
def main(config: DictConfig) -> None:
    """Collect every finished run below a folder and compare the arms."""
    page = report(Path(config.runs), Path(config.output))
    log.info("report: %s", page)


if __name__ == "__main__":
    main()
