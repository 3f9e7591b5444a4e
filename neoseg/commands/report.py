"""Report on runs: tables, figures and one page."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.config import no_result_keys
from neoseg.configuration.outputs import OutputFolder
from neoseg.evaluation.report.compare import ReportSettings
from neoseg.evaluation.report.write import write_report
from neoseg.findings.privacy import Privacy

log = logging.getLogger(__name__)


class ReportConfig(CommandConfig):
    """Schema of `conf/report.yaml`."""

    runs: Path
    output: OutputFolder
    compare: ReportSettings = ReportSettings()
    privacy: Privacy = "none"


def main(config: DictConfig) -> None:
    """Collect all finished runs below a folder, and compare the arms."""
    command = ReportConfig.parse(config)
    ignore = (*command.compare.ignore, *no_result_keys())
    settings = command.compare.model_copy(update={"ignore": ignore})
    page = write_report(command.runs, command.output, settings, command.privacy)
    log.info("report: %s, and report.md beside it", page)
