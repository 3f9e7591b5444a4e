"""Record the inputs of the scores in a folder, so that other scores do not replace them unasked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg import __version__
from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.cohorts import Scored
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json
from neoseg.store.fingerprint import LAYOUT

EVALUATION = "evaluation.json"
"""File in a folder of scores that records the inputs they were computed from."""

SCORES = "scores"
"""Its entry for the digest of the scores, once all are there."""

_NO_INFLUENCE = ("batch_size", "accumulate_on", "views")
"""Settings that do not change any score."""


def evaluation_inputs(
    run: str, weights: Path, parts: Sequence[Scored], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Return names and digests of everything that determines the scores.

    Args:
        run: name of the run.
        weights: checkpoint of the run.
        parts: the scans to score; their image and label files are hashed.
        settings: all settings of windows and scores, by section.
    """
    files = [
        [scan.id, *(digest_of(path) for path in (*scan.images, scan.label) if path is not None)]
        for part in parts
        for scan in part.scans
    ]
    details = [
        [
            *(part.cohort.name, scan.id, scan.scan_age, scan.age_group),
            None if scan.mask is None else digest_of(scan.mask),
            None if scan.label is None else [sorted(s) for s in scan.sets(part.cohort.convention)],
            str(scan.described and scan.described.slices),
        ]
        for part in parts
        for scan in part.scans
    ]
    meanings = [
        [part.cohort.name, list(meaning.values), [sorted(leaves) for leaves in meaning.sets]]
        for part in parts
        for meaning in [part.cohort.convention]
    ]
    matter = {
        name: {key: value for key, value in values.items() if key not in _NO_INFLUENCE}
        for name, values in settings.items()
    }
    return {
        "run": run,
        "weights": digest_of(weights),
        "cohorts": ", ".join(f"{part.cohort.name} ({len(part.scans)} scans)" for part in parts),
        "files": digest_of_content(sorted(files)),
        "labels": digest_of_content(meanings),
        "settings": digest_of_content(matter),
        "details": digest_of_content([__version__, LAYOUT, sorted(details, key=str)]),
    }


def require_same_inputs(folder: Path, told: Mapping[str, str]) -> None:
    """Raise `ConfigError` if the folder has scores that were computed from other inputs."""
    if not (folder / "scores.csv").is_file():
        return
    previous = _recorded(folder)
    # What an earlier version did not record cannot be compared.
    known = [key for key in told if key in previous or not previous]
    diffs = [key for key in known if previous.get(key) != told[key]]
    if diffs:
        names = ", ".join(f"{key} {previous[key]}" for key in ("run", "cohorts") if key in previous)
        raise ConfigError(
            f"{folder} has scores{f' of {names}' if names else ''}, with other {', '.join(diffs)}, "
            "which would be lost; name a folder with output=DIR, or set overwrite=true"
        )


def is_scored(folder: Path, told: Mapping[str, str]) -> bool:
    """Return whether a folder has the complete scores of these inputs, and what is beside them."""
    scores = folder / "scores.csv"
    return scores.is_file() and _recorded(folder) == {**told, SCORES: digest_of(scores)}


def record_inputs(folder: Path, told: Mapping[str, str]) -> None:
    """Record the inputs of the scores that will be written to `folder`.

    Scores of other inputs, which are to be overwritten, are deleted first.
    """
    recorded = _recorded(folder)
    if any(recorded.get(key, value) != value for key, value in told.items()):
        (folder / "scores.csv").unlink(missing_ok=True)
    write_json(folder / EVALUATION, dict(told))


def record_scores(folder: Path, told: Mapping[str, str]) -> None:
    """Record that the scores of these inputs are complete."""
    write_json(folder / EVALUATION, {**told, SCORES: digest_of(folder / "scores.csv")})


def _recorded(folder: Path) -> dict[str, Any]:
    try:
        return dict(read_json(folder / EVALUATION, within=folder))
    except (OSError, ValueError, TypeError):
        return {}
