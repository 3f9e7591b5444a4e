"""Read and write the calibrations of networks that segment together."""

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
from neoseg.inference.origin import Origin, digest_of_settings
from neoseg.labels import LabelSpace
from neoseg.trust.calibration import Calibration, Limits, Promise
from neoseg.trust.observation import Observation

log = logging.getLogger(__name__)

FOLDER = "calibration"
SUM = "calibration.json"
"""File with the summary of all observed scans; written last."""

_INVALID = (ValueError, KeyError, TypeError, AttributeError, OSError)

Content = TypeVar("Content")


def place_of(run: Path, origin: Origin) -> Path:
    """Return the folder for these weights and settings; its name is their digest, never stale."""
    key = digest_of_content([list(origin.weights), origin.settings])
    return run / FOLDER / key


def keep(folder: Path, observation: Observation, made_of: str) -> None:
    """Write the observation of a scan with `made_of`, the digest of its inputs."""
    content = {"made_of": made_of, "seen": observation.plain()}
    write_json(folder / f"{observation.scan}.json", content)


def read(folder: Path, scan: str, space: LabelSpace, made_of: str) -> Observation | None:
    """Return the observation of a scan; None if it is missing, damaged or made of other inputs."""
    path, leaves = folder / f"{scan}.json", space.num_leaves
    return read_kept(path, folder, made_of, lambda raw: Observation.from_plain(raw["seen"], leaves))


def read_kept(
    path: Path, within: Path, made_of: str, parse: Callable[[Any], Content]
) -> Content | None:
    """Return the parsed content of a file; None if it is missing, damaged or of other inputs."""
    try:
        content = read_json(path, within=within)
        return parse(content) if content["made_of"] == made_of else None
    except _INVALID:
        return None


def conclude(folder: Path, found: Calibration, origin: Origin, settings: Mapping[str, Any]) -> None:
    """Write the calibration with the weights and settings for which it is valid.

    Logs a warning if it replaces a calibration with more scans.
    """
    with suppress(*_INVALID):
        previous = int(read_json(folder / SUM, within=folder)["found"]["scans"])
        if previous > found.scans:
            message = "%s was of %d scans and is replaced by one of %d"
            log.warning(message, folder / SUM, previous, found.scans)
    content = {"weights": list(origin.weights), "settings": settings, "found": found.plain()}
    write_json(folder / SUM, content)


def load(runs: Sequence[Path], origin: Origin, space: LabelSpace) -> Calibration:
    """Return the calibration of runs that segment together, or of a file from `neoseg export`.

    Raises:
        ConfigError: if there is no valid calibration for these weights and settings.
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
    except _INVALID as error:
        raise ConfigError(f"{place} cannot be used ({error}); calibrate again") from None
    subject = f"{' + '.join(map(str, runs))} with these settings: they are not calibrated"
    if place is not None:
        raise ConfigError(
            f"nothing is known of {subject}; run `python -m neoseg.calibrate` with the runs that "
            "the file was made of and the same voxel_size and window, and export it again"
        )
    raise ConfigError(
        f"nothing is known of {subject}; run `python -m neoseg.calibrate` with the same run, "
        "predict_with, voxel_size and window"
    )


def to_hand_over(runs: Sequence[Path], predict_with: str | None) -> dict[str, Any]:
    """Return all calibrations of runs that are exported into one file, by digest of settings.

    The file contains a single network of each run, so `predict_with` becomes None in the settings.
    """
    weights = list(Origin.of("", runs, {}).weights)
    calibrations = {}
    for path in sorted(p for run in runs for p in (run / FOLDER).glob(f"*/{SUM}")):
        try:
            content = read_json(path, within=path.parent)
            settings = content["settings"]
            if content["weights"] == weights and settings["predict_with"] == predict_with:
                settings = {**settings, "predict_with": None}
                calibrations[digest_of_settings(settings)] = content["found"]
        except _INVALID as error:
            log.warning("%s cannot be used (%s) and is left out", path, error)
    return calibrations


def limits_of(calibration: Calibration, level: float, promise: Promise) -> Limits:
    """Return the maximum doubts for a promise; raises `ConfigError` if there are too few scans."""
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
