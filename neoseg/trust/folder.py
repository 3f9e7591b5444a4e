"""Where the observations of networks that segment together lie, and reading them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from neoseg.digests import digest_of_content
from neoseg.files import write_text
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError, read_json
from neoseg.inference.origin import Origin
from neoseg.labels import LabelSpace
from neoseg.trust.calibration import Calibration, Limits, Promise
from neoseg.trust.observation import Observation

log = logging.getLogger(__name__)

CALIBRATION = "calibration"
INDEX = "scans.json"
"""Which observations count; written last."""


def place_of(run: Path, origin: Origin) -> Path:
    """Return the folder for weights and settings: others have another, so none is out of date."""
    key = digest_of_content([list(origin.weights), origin.settings])
    return run / CALIBRATION / key


def keep(folder: Path, observation: Observation, made_of: str) -> None:
    """Write what was seen of a scan, and a digest of what that was made of."""
    content = {"made_of": made_of, "seen": observation.plain()}
    write_text(folder / f"{observation.scan}.json", json.dumps(content) + "\n")


def read(folder: Path, scan: str, space: LabelSpace, made_of: str | None = None) -> Observation:
    """Return what was seen of a scan.

    Raises:
        ConfigError: a file that is absent, not sound, or made of something else.
    """
    path = folder / f"{scan}.json"
    try:
        content = read_json(path, within=folder)
        if made_of not in (None, content["made_of"]):
            raise ValueError("it was made of other files")
        return Observation.from_plain(content["seen"], space.num_leaves)
    except (ForeignError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ConfigError(f"{path} cannot be used ({error}); calibrate again") from None


def conclude(folder: Path, scans: Iterable[str]) -> None:
    """Say which scans a calibration has."""
    write_text(folder / INDEX, json.dumps(sorted(scans), indent=1) + "\n")


def load(folder: Path, space: LabelSpace) -> Calibration:
    """Return a calibration; raises `ConfigError` where there is none for these weights."""
    path = folder / INDEX
    if not path.is_file():
        raise ConfigError(
            f"{folder} does not exist: these weights with these settings are not calibrated; run "
            "`python -m neoseg.calibrate` with the same run, predict_with, voxel_size and window"
        )
    try:
        names = [str(name) for name in read_json(path, within=folder)]
    except (ForeignError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be used ({error}); calibrate again") from None
    return Calibration(space, tuple(read(folder, name, space) for name in names))


def limits_of(calibration: Calibration, level: float, promise: Promise) -> Limits:
    """Return the doubts that keep the promise that is asked for; raises `ConfigError`."""
    limits = calibration.limits(level, promise)
    if limits is None:
        raise ConfigError(
            f"sets is {level:g}, which needs at least {calibration.needs(level)} calibration "
            f"scans, and there are {len(calibration.scans)}; calibrate with more, or lower sets"
        )
    if limits.open:
        log.warning(
            "too few calibration scans have %s: of these structures alone nothing is promised",
            ", ".join(limits.open),
        )
    if limits.doubts.max() < 0:
        log.warning("only the largest set keeps this promise: nothing is told; lower sets")
    return limits
