"""What the run in a folder was started with, against what is asked for now."""

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
from neoseg.configuration.resume import changed_settings
from neoseg.configuration.run import RunConfig
from neoseg.digests import digests_kept
from neoseg.errors import NeosegError
from neoseg.files import write_json
from neoseg.findings.command_line import command, override
from neoseg.findings.problems import Problems, shorten
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, read_json
from neoseg.runs.folder import RECORD
from neoseg.store.leaks import Member
from neoseg.store.nifti import DataError
from neoseg.store.store import DIGESTS

log = logging.getLogger(__name__)

SCANS = "scans.json"
"""In a run folder: what tells the content of the files of each scan, by cohort and scan."""

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
        CohortError: tables in the folder that are not what a run writes.
    """
    first = plan.sources[0].cohort.name
    problems = Problems()
    rows = read_rows(folder / SPLIT, ("subject", "split"), problems)
    problems.settle(f"the split of {folder}")
    parts = {(row.get("cohort") or first, row["subject"]): row["split"] for row in rows}
    known = read_plan(folder / PLAN, first)
    sources = list[Source]()
    for source in plan.sources:
        name, scans = source.cohort.name, source.cohort.scans
        part = {scan.subject: parts.get((name, scan.subject)) for scan in scans}
        split = Split(*(tuple(sorted(s for s in part if part[s] == one)) for one in SPLITS))
        own = tuple(item for item in known if item.cohort == name)
        new = [scan.id for scan in scans if part[scan.subject] is None]
        if new:
            told = f"{len(new)} of {len(scans)} scans of cohort '{name}' took no part in {folder}"
            log.warning("%s and are left out: %s", told, shorten(new))
        sources.append(replace(source, split=split, assignments=own))
    return replace(plan, sources=tuple(sources))


def require_same(run: RunConfig, folder: Path, plan: Plan, resuming: bool = False) -> None:
    """Compare settings, files and plan with those with which the run in `folder` has started.

    Settings and files that somebody who resumes it has changed are logged, as long as the run has
    not ended.

    Raises:
        ConfigError: with everything that differs, and what can be done.
    """
    found, plans = changed_settings(run.content, folder), changed_plan(plan, folder)
    found += changed_scans(run, folder, plan)
    ended = (folder / RECORD).is_file()
    if resuming and not ended:
        for line in found:
            log.warning("%s", line)
        found = []
    if not found + plans:
        return
    way = command("train", override("resume", folder))
    raise ConfigError(
        f"{folder} holds a run that {'has ended' if ended else 'was started'} otherwise:\n"
        + "\n".join(f"  - {line}" for line in [*found, *plans])
        + "\nLeave it as it is, and start this one in a folder of its own: without hydra.run.dir, "
        "or a sweep by another name (sweep=...)"
        + ("" if ended or plans else f". To go on with that run: {way}")
    )


def differing(run: RunConfig, folder: Path) -> str:
    """Tell in one message how a run that was started differs from what is asked for; "" if not."""
    if not (folder / CONFIG).is_file() or run.find_lr is not None:
        return ""
    try:
        plan = super(RunConfig, run).plan()
    except NeosegError as error:
        log.warning("%s cannot be compared with what is asked for: %s", folder, error)
        return ""
    try:
        require_same(run, folder, plan)
    except ConfigError as error:
        return str(error)
    return ""


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
        content = read_json(folder / IMAGES, within=folder)
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


def changed_scans(run: RunConfig, folder: Path, plan: Plan) -> list[str]:
    """Tell which scans of a run have other files now than when it was started."""
    path = folder / SCANS
    if not path.exists():
        return []
    try:
        earlier = read_json(path, within=folder)
        known = {(c, s): str(key) for c, scans in earlier.items() for s, key in scans.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not what a run writes ({error!r}); restore it") from None
    now = scan_keys(run, plan)
    other = [f"{c}/{s}" for c, s in known if (c, s) in now and now[c, s] != known[c, s]]
    if not other:
        return []
    return [
        f"the files of {len(other)} of {len(known)} scans, what their labels mean or how they are "
        f"prepared is not as when the run started: {shorten(other)}"
    ]


def scan_keys(run: RunConfig, plan: Plan) -> dict[tuple[str, str], str]:
    """Return by cohort and id what tells the content of the files of all scans of a plan."""
    store, found = run.open_store(plan.sources[0].cohort), {}
    with digests_kept(store.root / DIGESTS):
        for source in plan.sources:
            for scan in source.cohort.scans:
                try:
                    key = store.folder(scan, source.cohort).name.removeprefix(f"{scan.id}-")
                except DataError as error:  # the preparation tells all of them
                    key = str(error)
                found[source.cohort.name, scan.id] = key
    return found


def write_origin(run: RunConfig, folder: Path, plan: Plan) -> None:
    """Keep what tells the content of the files of a run."""
    content: dict[str, dict[str, str]] = {}
    for (cohort, scan), key in scan_keys(run, plan).items():
        content.setdefault(cohort, {})[scan] = key
    write_json(folder / SCANS, content, indent=1)
