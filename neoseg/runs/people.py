"""Who was in which part of a run, and annotated how: what its folder keeps of the people."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neoseg.cohort import Plan, Scan
from neoseg.cohort.annotation import read_plan
from neoseg.cohort.plan import Source
from neoseg.cohort.split import SPLITS, Split
from neoseg.cohort.table import read_rows
from neoseg.files import write_json
from neoseg.findings.problems import Problems, shorten
from neoseg.foreign import read_text
from neoseg.foreign.files import LARGEST_TABLE
from neoseg.foreign.values import json_of
from neoseg.store.leaks import Member

log = logging.getLogger(__name__)

IMAGES = "images.json"
"""In a run folder: the part of each scan and what its image shows, by cohort and scan."""

PLAN = "annotation.csv"

SPLIT = "split.csv"


def as_trained(plan: Plan, folder: Path) -> Plan:
    """Return a plan with the split and the annotation that the run in `folder` was trained with.

    Of a cohort that has changed since, another split might be drawn, with people of the training
    for the test. Scans of which the run knows nothing take no part, which the log tells; the
    annotations of those that are gone stay, since folds follow from all.

    Raises:
        CohortError: tables in the folder that are not what a run writes, parts of other names.
    """
    first = plan.sources[0].cohort.name
    problems = Problems()
    rows = read_rows(folder / SPLIT, ("subject", "split"), problems, folder)
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLITS:
            problems.error(
                f"{folder / SPLIT} row {number}", f"found split {row['split']!r}", str(SPLITS)
            )
    problems.settle(f"the split of {folder}")
    parts = {
        (row.get("cohort") or first, row["subject"], row.get("session") or None): row["split"]
        for row in rows
    }
    known = read_plan(folder / PLAN, first)
    sources = list[Source]()
    for source in plan.sources:
        name, scans = source.cohort.name, source.cohort.scans
        part = {scan.id: parts.get((name, scan.subject, scan.session)) for scan in scans}
        kept = tuple(scan for scan in scans if part[scan.id] is not None)
        own = tuple(item for item in known if item.cohort == name)
        people = [{scan.subject for scan in kept if part[scan.id] == one} for one in SPLITS]
        split = Split(*(tuple(sorted(subjects)) for subjects in people))
        new = [scan.id for scan in scans if part[scan.id] is None]
        if new:
            told = f"{len(new)} of {len(scans)} scans of cohort '{name}' took no part in {folder}"
            log.warning("%s and are left out: %s", told, shorten(new))
        cohort = replace(source.cohort, scans=kept)
        sources.append(replace(source, cohort=cohort, split=split, assignments=own))
    return replace(plan, sources=tuple(sources))


def write_images(folder: Path, members: Sequence[Member]) -> None:
    """Keep what the images of a run show, by which an evaluation knows them again."""
    content: dict[str, dict[str, list[str]]] = {}
    for member in members:
        known = [member.part, member.digest, member.signature]
        content.setdefault(member.scan.cohort, {})[member.scan.id] = known
    write_json(folder / IMAGES, content)


def seen_by(folder: Path) -> list[Member]:
    """Return the scans with which a run was trained and validated, as far as its folder tells."""
    images: dict[tuple[str, str], list[str]] = {}
    try:
        text = read_text(folder / IMAGES, LARGEST_TABLE, folder)  # 5 kB a scan
        content = json_of(text, str(folder / IMAGES))
        images = {
            (cohort, scan): [str(digest), str(signature)]
            for cohort, scans in content.items()
            for scan, (_, digest, signature) in scans.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        log.warning("%s does not tell what its images show: ids alone are compared", folder)
    found = []
    for item in read_plan(folder / PLAN) if (folder / PLAN).is_file() else ():
        if item.split != "test":
            scan = Scan(item.subject, item.session, (None,), None, None, None, None, item.cohort)
            shown = images.get((scan.cohort, scan.id), ["", ""])
            found.append(Member(scan, item.split, *shown))
    return found


def changed_plan(plan: Plan, folder: Path) -> list[str]:
    """Tell whether `annotation.csv` of a run is there and says otherwise than a plan."""
    path = folder / PLAN
    if not path.is_file() or read_plan(path, plan.sources[0].cohort.name) == plan.assignments:
        return []
    return [
        f"{path} says who was annotated how when the run started, and the cohort, split or "
        "annotation gives another plan now"
    ]
