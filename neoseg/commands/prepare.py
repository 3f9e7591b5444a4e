"""Examining and preparing a cohort before training."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from omegaconf import DictConfig
from rich.console import Console

from neoseg.cohort import Cohort, CohortError, Source, Split, SplitSettings
from neoseg.cohort.split import split_of
from neoseg.configuration.data import CohortConfig, source_of
from neoseg.configuration.outputs import OutputFile
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.examination import diagnose
from neoseg.progress import progress_bar

UNREAD = ("bad-table", "duplicate-row", "plan")
"""Kinds of errors of a table of annotations."""

log = logging.getLogger(__name__)


class PrepareConfig(CohortConfig):
    """What `conf/prepare.yaml` holds."""

    split: SplitSettings | None = None
    report: OutputFile | None = None
    verify: bool = True

    def planner(self) -> Callable[[Cohort], Source] | None:
        """Return what plans as a run would, where an annotation is chosen.

        Without a split every subject is for training.
        """
        annotation = self.annotation
        if annotation is None:
            return None

        def plan(cohort: Cohort) -> Source:
            everyone = Split(cohort.subjects, (), ())
            split = everyone if self.split is None else split_of(cohort, self.split)
            if annotation.file is not None:
                table = str(annotation.file.expanduser())
                found = (p for p in cohort.problems if p.where.startswith(table))
                if unread := [p for p in found if p.kind in UNREAD]:  # what is left is no plan
                    raise CohortError(f"{table} does not say who is annotated how:", unread)
            return source_of(cohort, split, annotation, None)

        return plan


def main(config: DictConfig) -> None:
    """Read every scan once, tell all problems together, fill the store and write the report."""
    command = PrepareConfig.parse(config)
    root, plan = command.paths.data / "store", command.planner()
    name = command.cohort.name or "cohort"
    try:
        with progress_bar("phantom") as bar:
            cohort = command.read_cohort("collect", bar.update_to)
    except CohortError as error:
        diagnosis = Diagnosis.of_error(name, error)
    else:
        with progress_bar("prepare", total=len(cohort.scans)) as bar:
            diagnosis = diagnose(
                cohort, command.open_store(cohort), plan, bar.advance, command.verify
            )
    report = command.report or root / name / "report.json"
    readable = diagnosis.write(report)
    if text := diagnosis.text():
        Console().print(text, soft_wrap=True, markup=False, highlight=False)
    log.info("%s", diagnosis.summary())
    log.info("store: %s; report: %s and %s", root / name, readable, report.name)
    if not diagnosis.errors:
        log.info("next: python -m neoseg.train, or neoseg.plan before, with the same keys")
        return
    if command.on_error == "skip" and diagnosis.usable:
        log.warning(
            "%d scans are left out: train with on_error=skip as well", len(diagnosis.skipped)
        )
        return
    skip = ", or set on_error=skip to go on without these scans" if diagnosis.usable else ""
    log.error("the cohort cannot be used as it is; repair what is listed%s", skip)
    sys.exit(2)
