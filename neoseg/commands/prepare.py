"""Examine and prepare a cohort before training."""

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

TABLE_ERRORS = ("bad-table", "duplicate-row", "plan")
"""Kinds of problems that make a table of annotations unusable."""

log = logging.getLogger(__name__)


class PrepareConfig(CohortConfig):
    """Schema of `conf/prepare.yaml`."""

    split: SplitSettings | None = None
    report: OutputFile | None = None
    verify: bool = True

    def planner(self) -> Callable[[Cohort], Source] | None:
        """Return a function that plans annotations as a run would; None without `annotation`.

        Without a split, of the keys or of the cohort's table, all subjects are used for training.
        """
        annotation = self.annotation
        if annotation is None:
            return None

        def plan(cohort: Cohort) -> Source:
            all_training = Split(cohort.subjects, (), ())
            told = self.split is not None or any(scan.split for scan in cohort.scans)
            split = split_of(cohort, self.split or SplitSettings()) if told else all_training
            if annotation.file is not None:
                table = str(annotation.file.expanduser())
                problems = (p for p in cohort.problems if p.where.startswith(table))
                # The remaining rows of a table with errors are not a plan.
                if errors := [p for p in problems if p.kind in TABLE_ERRORS]:
                    raise CohortError(f"{table} does not say who is annotated how:", errors)
            return source_of(cohort, split, annotation, None)

        return plan


def main(config: DictConfig) -> None:
    """Read each scan once, report all problems together, and fill the store."""
    command = PrepareConfig.parse(config)
    root, plan = command.paths.data / "store", command.planner()
    name = command.cohort.name or "cohort"
    try:
        cohort = command.read_cohort("collect")
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
        how = "" if command.annotation else ", and annotation=..., which says who is drawn how"
        log.info("next: python -m neoseg.train +experiment=... with the same keys%s", how)
        return
    if command.on_error == "skip" and diagnosis.usable:
        log.warning(
            "%d scans are left out: train with on_error=skip as well", len(diagnosis.skipped)
        )
        return
    skip = ", or set on_error=skip to go on without these scans" if diagnosis.usable else ""
    log.error("the cohort cannot be used as it is; repair what is listed%s", skip)
    sys.exit(2)
