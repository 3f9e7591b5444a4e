"""Where calibrations of networks that segment together lie, and reading them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from neoseg.digests import digest_of_content
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json
from neoseg.inference.model_file import read_head
from neoseg.inference.origin import Origin
from neoseg.labels import LabelSpace
from neoseg.trust.calibration import Calibration, Limits, Promise
from neoseg.trust.observation import Observation

log = logging.getLogger(__name__)

FOLDER = "calibration"
SUM = "calibration.json"
"""What the observed scans come to; written last."""

_FAULTS = (ValueError, KeyError, TypeError, AttributeError, OSError)

Kept = TypeVar("Kept")


def place_of(run: Path, origin: Origin) -> Path:
    """Return the folder for weights and settings: others have another, so none is out of date."""
    key = digest_of_content([list(origin.weights), origin.settings])
    return run / FOLDER / key


def keep(folder: Path, observation: Observation, made_of: str) -> None:
    """Write what was seen of a scan, and a digest of what that was made of."""
    content = {"made_of": made_of, "seen": observation.plain()}
    write_json(folder / f"{observation.scan}.json", content)


def read(folder: Path, scan: str, space: LabelSpace, made_of: str) -> Observation | None:
    """Return what was seen of a scan; None for a file that is absent, or made of something else."""
    path, leaves = folder / f"{scan}.json", space.num_leaves
    return read_kept(path, folder, made_of, lambda raw: Observation.from_plain(raw["seen"], leaves))


def read_kept(path: Path, within: Path, made_of: str, parse: Callable[[Any], Kept]) -> Kept | None:
    """Return what `parse` gives of a file; None where it is absent, or made of something else."""
    try:
        content = read_json(path, within=within)
        return parse(content) if content["made_of"] == made_of else None
    except _FAULTS:
        return None


def conclude(folder: Path, found: Calibration, origin: Origin, settings: Mapping[str, Any]) -> None:
    """Write what all scans come to, and of which weights and settings that is true.

    One of more scans that is replaced is told of.
    """
    with suppress(*_FAULTS):
        before = int(read_json(folder / SUM, within=folder)["found"]["scans"])
        if before > found.scans:
            told = "%s was of %d scans and is replaced by one of %d"
            log.warning(told, folder / SUM, before, found.scans)
    content = {"weights": list(origin.weights), "settings": settings, "found": found.plain()}
    write_json(folder / SUM, content)


def load(runs: Sequence[Path], origin: Origin, space: LabelSpace) -> Calibration:
    """Return the calibration of runs that segment together, or of a file of `neoseg export`.

    Raises:
        ConfigError: none for these weights and settings.
    """
    place = next((p for p in runs if (place_of(p, origin) / SUM).is_file()), None)
    raw: Any = None
    try:
        if place is not None:
            place = place_of(place, origin) / SUM
            raw = read_json(place, within=place.parent)["found"]
        elif runs[0].is_file():
            place = runs[0]
            raw = read_head(place).calibrations.get(origin.settings)
        if raw is not None:
            return Calibration.from_plain(space, raw)
    except _FAULTS as error:
        raise ConfigError(f"{place} cannot be used ({error}); calibrate again") from None
    what = f"{' + '.join(map(str, runs))} with these settings: they are not calibrated"
    if place is not None:
        raise ConfigError(
            f"nothing is known of {what}; run `python -m neoseg.calibrate` with the runs that the "
            "file was made of and the same voxel_size and window, and export it again"
        )
    raise ConfigError(
        f"nothing is known of {what}; run `python -m neoseg.calibrate` with the same run, "
        "predict_with, voxel_size and window"
    )


def to_hand_over(runs: Sequence[Path], predict_with: str | None) -> dict[str, Any]:
    """Return all calibrations of runs that go into one file, by the digest of their settings.

    In the file there is but one network of each run, so that none is to be chosen.
    """
    weights = list(Origin.of("", runs, {}).weights)
    found = {}
    for path in sorted(p for run in runs for p in (run / FOLDER).glob(f"*/{SUM}")):
        try:
            content = read_json(path, within=path.parent)
            settings = content["settings"]
            if content["weights"] == weights and settings["predict_with"] == predict_with:
                settings = {**settings, "predict_with": None}
                found[digest_of_content(settings)] = content["found"]
        except _FAULTS as error:
            log.warning("%s cannot be used (%s) and is left out", path, error)
    return found


def limits_of(calibration: Calibration, level: float, promise: Promise) -> Limits:
    """Return the doubts that keep the promise that is asked for; raises `ConfigError`."""
    limits = calibration.limits(level, promise)
    if limits is None:
        raise ConfigError(
            f"sets is {level:g}, which needs at least {calibration.needs(level)} calibration "
            f"scans, and there are {calibration.scans}; calibrate with more, or lower sets"
        )
    if limits.open:
        log.warning(
            "too few calibration scans have %s: of these structures alone nothing is promised",
            ", ".join(limits.open),
        )
    if limits.doubts.max() < 0:
        log.warning("only the largest set keeps this promise: nothing is told; lower sets")
    return limits
