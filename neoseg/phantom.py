"""Generate a synthetic cohort: `python -m neoseg.phantom output=DIR subjects=24 seed=0`."""

from __future__ import annotations

import logging
import os
from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig

from neoseg.cohort.phantom import PhantomSettings, generate_cohort
from neoseg.configuration.command import command
from neoseg.findings.settings import ConfigError
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


@command("phantom")
def main(config: DictConfig) -> None:
    """Write newborn brains with DrawEM labels in the dHCP release-3 layout."""
    values = {field.name: config[field.name] for field in fields(PhantomSettings)}
    with progress_bar("phantom") as bar:
        try:
            settings = PhantomSettings(**values)
            workers = config.workers or os.cpu_count() or 1
            folder = generate_cohort(Path(config.output), settings, workers, bar.update_to)
        except (ValueError, FileExistsError) as error:
            raise ConfigError(str(error)) from None
    log.info("phantom cohort: %s", folder)


if __name__ == "__main__":
    main()
