"""Generate a synthetic cohort."""

import logging
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig
from pydantic import ConfigDict

from neoseg.capacity import Processes, usable_cores
from neoseg.cohort.phantom.generation import generate_cohort
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.outputs import OutputFolder
from neoseg.findings.settings import ConfigError
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


class PhantomConfig(CommandConfig):
    """Schema of `conf/phantom.yaml`; further keys are those of `PhantomSettings`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    output: OutputFolder
    workers: Processes | None = None

    def settings(self) -> PhantomSettings:
        """Return the settings of the phantom; raises `ConfigError`."""
        known = {field.name for field in fields(PhantomSettings)}
        values: dict[str, Any] = {k: v for k, v in self.content.items() if k in known}
        try:
            return PhantomSettings(**values)
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None


def main(config: DictConfig) -> None:
    """Generate newborn brains with DrawEM labels in the layout of dHCP release 3."""
    command = PhantomConfig.parse(config)
    settings, workers = command.settings(), command.workers or usable_cores()
    with progress_bar("phantom") as bar:
        try:
            folder = generate_cohort(command.output, settings, workers, bar.update_to)
        except (ValueError, FileExistsError) as error:
            raise ConfigError(str(error)) from None
    log.info("phantom cohort: %s", folder)
