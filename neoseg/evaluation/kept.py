"""What the scores in a folder are of, so that others do not take their place unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.cohorts import Scored
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json

EVALUATION = "evaluation.json"
"""In a folder of scores: what they are of."""

NO_MATTER = ("batch_size", "accumulate_on", "views")
"""Settings that change no score."""


def told_of(
    run: str, weights: Path, parts: Sequence[Scored], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Return names and digests of what scores follow from.

    Args:
        run: its name.
        weights: its checkpoint.
        parts: the scans, whose files are read.
        settings: of windows and scores, complete.
    """
    files = [
        [scan.id, *(digest_of(path) for path in (*scan.images, scan.label) if path is not None)]
        for part in parts
        for scan in part.scans
    ]
    meanings = [
        [part.cohort.name, list(meaning.values), [sorted(leaves) for leaves in meaning.sets]]
        for part in parts
        for meaning in [part.cohort.convention]
    ]
    matter = {
        name: {key: value for key, value in own.items() if key not in NO_MATTER}
        for name, own in settings.items()
    }
    return {
        "run": run,
        "weights": digest_of(weights),
        "cohorts": ", ".join(f"{part.cohort.name} ({len(part.scans)} scans)" for part in parts),
        "files": digest_of_content(sorted(files)),
        "labels": digest_of_content(meanings),
        "settings": digest_of_content(matter),
    }


def require_own(folder: Path, told: Mapping[str, str]) -> None:
    """Raise `ConfigError` for a folder that has scores of something else."""
    if not (folder / "scores.csv").is_file():
        return
    try:
        before = dict(read_json(folder / EVALUATION, within=folder))
    except (OSError, ValueError, TypeError):
        before = {}
    other = [key for key in told if before.get(key) != told[key]]
    if other:
        named = ", ".join(f"{key} {before[key]}" for key in ("run", "cohorts") if key in before)
        raise ConfigError(
            f"{folder} has scores{f' of {named}' if named else ''}, with other {', '.join(other)}, "
            "which would be lost; name a folder with output=DIR, or set overwrite=true"
        )


def keep(folder: Path, told: Mapping[str, str]) -> None:
    """Write what the scores are of that a folder is about to get."""
    write_json(folder / EVALUATION, dict(told))
