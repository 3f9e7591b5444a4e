"""Compare the run in a folder, as it was started, with the current configuration and data."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from neoseg.cohort import Plan
from neoseg.configuration.resume import changed_settings
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of, digests_kept
from neoseg.errors import NeosegError
from neoseg.files import write_json
from neoseg.findings.command_line import again, command, override
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, ForeignError, read_json
from neoseg.foreign.values import value_at
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.own_code import changed_code, recorded_code
from neoseg.runs.folder import INIT, RECORD
from neoseg.runs.longer import ended_by_time
from neoseg.runs.people import SCANS, meaning_of, recorded_keys
from neoseg.runs.replanned import Replanned
from neoseg.store.damage import DataError
from neoseg.store.store import DIGESTS

log = logging.getLogger(__name__)

CHANGES = "changes.json"
"""In a run folder: settings and files changed before the run was resumed; absent without any."""


def require_same(run: RunConfig, folder: Path, plan: Plan, resuming: bool = False) -> None:
    """Compare settings, files and plan with those with which the run in `folder` was started.

    When an unfinished run is resumed, changed settings and files are logged and kept for its record
    instead.

    Raises:
        ConfigError: listing all differences, and what can be done.
    """
    replanned = Replanned.compare(plan, folder)
    changes, plan_changes = changed_settings(run.content, folder), replanned.lines(folder)
    changes += [*changed_scans(run, folder, plan), *ended_by_time(run, folder)]
    if modules := changed_code(recorded_code(folder), run.allow):
        changes.append(f"the code of {shorten(modules)} has changed since")
    if not resuming:  # a resumed run has weights of its own
        changes += _changed_source(run, folder)
    ended = (folder / RECORD).is_file()
    if resuming and not ended:
        note_changes(folder, changes)
        changes = []
    if not changes + plan_changes:
        return
    left_out = [] if ended else replanned.without_new(plan, run.content)
    settings = _settings_on_top(left_out) if resuming else []
    resume = command("train", override("resume", folder), *left_out, *settings, *again(run.allow))
    goes_on = not ended and (left_out or not plan_changes)
    raise ConfigError(
        f"{folder} holds a run that {'has ended' if ended else 'was started'} otherwise:\n"
        + "\n".join(f"  - {line}" for line in [*changes, *plan_changes])
        + "\nLeave it as it is, and start this one in a folder of its own: without hydra.run.dir, "
        "or a sweep by another name (sweep=...)"
        + (f". To go on with that run: {resume}" if goes_on else "")
    )


def _settings_on_top(others: Sequence[str]) -> list[str]:
    """Return the settings of this command, for a shell, without those that `others` set."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    lines = [shlex.split(line)[0] for line in others]
    keys = {"resume", "allow", *map(_key_of, lines)}
    return [shlex.quote(line) for line in given if _key_of(line) not in keys]


def _key_of(line: str) -> str:
    return line.partition("=")[0].lstrip("+")


def note_changes(folder: Path, changes: list[str]) -> None:
    """Warn of what has changed since a run was started, and keep it for its record."""
    for line in changes:
        log.warning("%s", line)
    earlier = changes_of(folder)
    if new := [line for line in changes if line not in earlier]:
        write_json(folder / CHANGES, [*earlier, *new], indent=1)


def changes_of(folder: Path) -> list[str]:
    """Return the settings and files that were changed when a run was resumed."""
    try:
        return [str(line) for line in read_json(folder / CHANGES, within=folder)]
    except (OSError, ValueError, TypeError):
        return []


def differing(run: RunConfig, folder: Path) -> str:
    """Return a message on how a started run differs from the current configuration, or ""."""
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
    """Report scans whose files, labels or preparation changed since the run was last started."""
    was = recorded_keys(folder)
    now = scan_keys(run, plan) if was else {}
    changed = [f"{c}/{s}" for c, s in was if (c, s) in now and now[c, s] != was[c, s]]
    if not changed:
        return []
    return [
        f"the files of {len(changed)} of {len(was)} scans, what their labels mean or how they are "
        f"prepared have changed since the run started or was last resumed: {shorten(changed)}"
    ]


def _changed_source(run: RunConfig, folder: Path) -> list[str]:
    """Report that the network of `init_from` is another than when the run was started from it."""
    if run.init_from is None or not (folder / INIT).is_file():
        return []
    file = predicting_checkpoint(Path(run.init_from))
    try:
        before = value_at(read_json(folder / INIT, within=folder), "fingerprint")
        changed = file.is_file() and digest_of(file) != before
    except (OSError, ForeignError) as error:
        log.warning("%s cannot be compared with init_from: %s", folder, error)
        return []
    return [f"the weights of init_from={run.init_from} have changed since"] if changed else []


def scan_keys(run: RunConfig, plan: Plan) -> dict[tuple[str, str], str]:
    """Return the cache key of each scan of a plan, and what its labels mean, by cohort and id."""
    store, keys = run.open_store(plan.sources[0].cohort), {}
    with digests_kept(store.root / DIGESTS):
        for source in plan.sources:
            for scan in source.cohort.scans:
                try:
                    key = store.folder(scan, source.cohort).name.removeprefix(f"{scan.id}-")
                    if scan.label is not None:
                        key = f"{key} {meaning_of(scan, source.cohort.convention)}"
                except DataError as error:  # reported when scans are prepared
                    key = str(error)
                keys[source.cohort.name, scan.id] = key
    return keys


def write_origin(run: RunConfig, folder: Path, plan: Plan) -> None:
    """Write the cache keys of the scans of a run."""
    content: dict[str, dict[str, str]] = {}
    for (cohort, scan), key in scan_keys(run, plan).items():
        content.setdefault(cohort, {})[scan] = key
    write_json(folder / SCANS, content, indent=1)
