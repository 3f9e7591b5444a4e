"""Examine and prepare a cohort before training: `python -m neoseg.prepare cohort=dhcp ...`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from neoseg.cohort import (
    AnnotationSettings,
    Cohort,
    CohortError,
    Source,
    Split,
    parse_settings,
)
from neoseg.configuration.assembly import (
    cohort_of,
    on_error_of,
    space_of,
    split_of,
    store_of,
)
from neoseg.configuration.command import command
from neoseg.configuration.config import plain
from neoseg.configuration.extra_cohorts import source_of
from neoseg.doctor import Diagnosis, diagnose
from neoseg.labels import LabelSpace
from neoseg.preflight import check_cohort
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


@command("prepare")
def main(config: DictConfig) -> None:
    """Read every scan once, tell all problems together, fill the store and write the report."""
    check_cohort(config, "prepare")
    on_error, store, space = on_error_of(config), store_of(config), space_of(config)
    plan = planner(config, space)
    name = str(config.cohort.get("name", "cohort"))
    try:
        with progress_bar("phantom") as bar:
            cohort = cohort_of(config, space, bar.update_to, "collect")
    except CohortError as error:
        diagnosis = Diagnosis.of_error(name, error)
    else:
        with progress_bar("prepare", total=len(cohort.scans)) as bar:
            diagnosis = diagnose(cohort, store, plan, bar.advance, config.verify)
    report = Path(config.report) if config.report else store.root / name / "report.json"
    readable = diagnosis.write(report)
    Console().print(diagnosis.text(), soft_wrap=True, markup=False, highlight=False)
    log.info("%s", diagnosis.summary())
    log.info("store: %s; report: %s and %s", store.root / name, readable, report.name)
    if not diagnosis.errors:
        return
    if on_error == "skip" and diagnosis.usable:
        log.warning(
            "%d scans are left out: train with on_error=skip as well", len(diagnosis.skipped)
        )
        return
    log.error("the cohort cannot be used as it is; %s", _way_out(diagnosis))
    sys.exit(2)


def planner(config: DictConfig, space: LabelSpace) -> Callable[[Cohort], Source] | None:
    """Return what plans as a run would, where an annotation is chosen.

    Without a split every subject is for training.

    Raises:
        CohortError, LabelError: settings that are wrong, whatever the cohort.
    """
    if config.get("annotation") is None:
        return None
    settings = parse_settings(AnnotationSettings, plain(config.annotation), "annotation")
    settings.protocols(space)

    def plan(cohort: Cohort) -> Source:
        everyone = Split(cohort.subjects, (), ())
        split = everyone if config.get("split") is None else split_of(config, cohort)
        return source_of(cohort, split, settings, None)

    return plan


def _way_out(diagnosis: Diagnosis) -> str:
    if diagnosis.usable:
        return "repair what is listed, or set on_error=skip to go on without these scans"
    return "repair what is listed"


if __name__ == "__main__":
    main()
