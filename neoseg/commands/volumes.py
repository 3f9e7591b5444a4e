"""The table of volumes that `predict` writes: its rows, volumes, and the ages of the scans."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from neoseg.cohort.ages import MISSING_TEXT
from neoseg.cohort.dhcp import pipeline_folder
from neoseg.cohort.folders import SessionFolder
from neoseg.cohort.participants import read_ages
from neoseg.cohort.scan import bare_id
from neoseg.findings.problems import Problems, shorten
from neoseg.findings.settings import ConfigError
from neoseg.inference.origin import is_counted

log = logging.getLogger(__name__)

ID_COLUMNS = ("file", "participant_id", "session_id")


def existing_rows(rows: list[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    """Return the rows whose label files exist, or all rows if none of the files exists.

    Raises:
        ConfigError: files that have been changed since their volumes were counted.
    """
    existing = [row for row in rows if (folder / row["file"]).is_file()]
    if not existing:
        log.warning("there are no label files beside the table of volumes, which is used as it is")
        return rows
    if len(existing) < len(rows):
        missing = [row["file"] for row in rows if row not in existing]
        log.warning(
            "%d rows are left out, as their files are gone: %s", len(missing), shorten(missing)
        )
    changed = [row["file"] for row in existing if not is_counted(folder / row["file"])]
    if changed:
        raise ConfigError(
            f"{len(changed)} label files in {folder} have changed since their volumes were "
            f"counted: {shorten(changed)}; run neoseg.predict as before, which keeps such files "
            "and counts them again"
        )
    return existing


def volumes_of(
    path: Path, names: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> dict[str, list[float]]:
    """Return the volume (ml) of each structure in each row, NaN where a cell names none.

    Raises:
        ConfigError: cells that are no volumes.
    """
    volumes, wrong = dict[str, list[float]](), list[str]()
    for name in names:
        volumes[name] = []
        for row in rows:
            volume = _volume(row[name].strip())
            if volume is None:
                wrong.append(f"{name} of {row['file']} is {row[name]!r}")
            else:
                volumes[name].append(volume)
    if wrong:
        raise ConfigError(
            f"{path} holds {len(wrong)} cells that are no volumes in ml: {shorten(wrong)}; write "
            "n/a where a volume is not known, or run neoseg.predict again"
        )
    return volumes


def _volume(text: str) -> float | None:
    """Return the volume that a cell names, NaN if it names none, None if it is something else."""
    if text.casefold() in MISSING_TEXT:
        return math.nan
    try:
        volume = float(text)
    except ValueError:
        return None
    return volume if 0 <= volume < math.inf else None


def warn_of_repeated(rows: Sequence[Mapping[str, str]]) -> None:
    """Tell of scans with several segmentations, and of people with several scans."""
    people = Counter(row["participant_id"] for row in rows)
    scans = Counter((row["participant_id"], row["session_id"]) for row in rows)
    several = [f"{subject} {session}" for (subject, session), n in scans.items() if n > 1]
    if several:
        log.warning(
            "%d sessions have several segmentations (of T1w and T2w, say), which count as so many "
            "scans: %s; keep those of one kind in the folder",
            *(len(several), shorten(several)),
        )
    elif len(people) < len(rows):
        log.warning(
            "%d scans are of %d people, and count as if they were of as many",
            *(len(rows), len(people)),
        )


def ages_of(rows: Sequence[Mapping[str, str]], folder: Path) -> list[float]:
    """Return the age of each row in weeks, NaN if unknown; raises `ConfigError`."""
    ids = [tuple(row[column] for column in ID_COLUMNS[1:]) for row in rows]
    keys = [
        (bare_id(subject, "sub-"), None if session == "n/a" else bare_id(session, "ses-"))
        for subject, session in ids
    ]
    wanted = sorted({key for key in keys if key[0] != "n/a"}, key=str)
    if not wanted:
        raise ConfigError(
            f"none of {len(rows)} segmentations belongs to a participant, as their names do not "
            "begin with sub-, and ages are given by participant: segment a BIDS tree, or files "
            "that are called sub-ID_..."
        )
    problems = Problems()
    pipeline = pipeline_folder(folder)
    # All sessions of the people, since an age of a person with several is that of neither.
    others = {
        (subject, bare_id(path.name, "ses-"))
        for subject in {key[0] for key in wanted}
        for path in (pipeline / f"sub-{subject}").glob("ses-*")
    }
    sessions = [SessionFolder(*key, pipeline, {}) for key in sorted({*wanted, *others}, key=str)]
    ages_by_key = read_ages(list(dict.fromkeys([pipeline, folder])), sessions, bool, problems)
    problems.settle("ages")
    ages = [getattr(ages_by_key.get(key), "scan", None) or math.nan for key in keys]
    if not np.isfinite(ages).any():
        raise ConfigError(f"{folder} has no age for any of the {len(rows)} scans")
    return ages
