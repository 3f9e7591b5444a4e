"""What the run in a folder was started with, against what is asked for now."""

from __future__ import annotations

import logging
from pathlib import Path

from neoseg.cohort import Plan
from neoseg.configuration.resume import changed_settings
from neoseg.configuration.run import RunConfig
from neoseg.digests import digests_kept
from neoseg.errors import NeosegError
from neoseg.files import write_json
from neoseg.findings.command_line import command, override
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, read_json
from neoseg.runs.folder import RECORD
from neoseg.runs.people import changed_plan
from neoseg.store.nifti import DataError
from neoseg.store.store import DIGESTS

log = logging.getLogger(__name__)

SCANS = "scans.json"
"""In a run folder: what tells the content of the files of each scan, by cohort and scan."""

CHANGES = "changes.json"
"""In a run folder: settings and files that were changed before it went on; absent without any."""


def require_same(run: RunConfig, folder: Path, plan: Plan, resuming: bool = False) -> None:
    """Compare settings, files and plan with those with which the run in `folder` has started.

    Settings and files that somebody who resumes it has changed are logged and kept for its record,
    as long as the run has not ended.

    Raises:
        ConfigError: with everything that differs, and what can be done.
    """
    found, plans = changed_settings(run.content, folder), changed_plan(plan, folder)
    found += changed_scans(run, folder, plan)
    ended = (folder / RECORD).is_file()
    if resuming and not ended:
        for line in found:
            log.warning("%s", line)
        if found:
            before = changes_of(folder)
            if before[-len(found) :] != found:
                write_json(folder / CHANGES, [*before, *found], indent=1)
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


def changes_of(folder: Path) -> list[str]:
    """Return with what other settings and files a run has gone on, since it was started."""
    try:
        return [str(line) for line in read_json(folder / CHANGES, within=folder)]
    except (OSError, ValueError, TypeError):
        return []


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
        f"prepared is not as when the run started or last went on: {shorten(other)}"
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
