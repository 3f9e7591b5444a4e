"""Tables, figures and one page over runs: `python -m neoseg.report runs=DIR output=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from neoseg.configuration.command import command
from neoseg.configuration.config import settings_of
from neoseg.evaluation import ReportSettings, write_report

log = logging.getLogger(__name__)


@command("report")
def main(config: DictConfig) -> None:
    """Collect every finished run below a folder and compare the arms."""
    settings = settings_of(ReportSettings, config, "compare")
    page = write_report(Path(config.runs), Path(config.output), settings)
    log.info("report: %s, and report.md beside it", page)


if __name__ == "__main__":
    main()
