"""Check and prepare a cohort before training: `python -m neoseg.prepare cohort=dhcp ...`."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from neoseg.assembly import cohort_of, space_of, store_of
from neoseg.command import command
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


@command("prepare")
def main(config: DictConfig) -> None:
    """Read every scan once, list all problems together, and fill the store."""
    with progress_bar("phantom") as bar:
        cohort = cohort_of(config, space_of(config), bar.update_to)
    store = store_of(config)
    with progress_bar("prepare", total=len(cohort.scans)) as bar:
        entries = store.prepare(cohort, cohort.scans, bar.advance)
    labelled = sum(entry.annotated for entry in entries)
    ages = [scan.age_group for scan in cohort.scans]
    log.info(
        "cohort '%s': %d scans of %d subjects (%s), %d with labels, %d warnings; store: %s",
        cohort.name,
        len(cohort.scans),
        len(cohort.subjects),
        ", ".join(f"{ages.count(group)} {group}" for group in sorted(set(ages))),
        labelled,
        len(cohort.warnings),
        store.root / cohort.name,
    )


if __name__ == "__main__":
    main()
