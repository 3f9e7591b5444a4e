"""Going on with a run by its own configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neoseg.configuration.config import is_group
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, ForeignError, read_config

log = logging.getLogger(__name__)

_NO_RESULT = ("resume", "dry_run", "seconds_per_step", "cluster", "allow", "privacy")
"""Keys that may change between two starts of a run."""


def resumed(run: Path, overrides: Sequence[str], allow: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a run folder, with the values that the command line changes.

    Args:
        run: folder of the run.
        overrides: what the user wrote, `resume=...` among it.
        allow: packages that the user of the command allows; what the run's own file allows does
            not count, since it may be a stranger's.

    Raises:
        ConfigError: not a run folder, a group chosen anew, a key that the run does not have, or
            what `RunConfig.parse` finds.
    """
    path = run / CONFIG
    if not path.is_file():
        raise ConfigError(f"resume={run} is not a run folder: it has no {CONFIG}")
    try:
        config = OmegaConf.create(read_config(path))
    except ForeignError as error:
        raise ConfigError(str(error)) from None
    OmegaConf.set_struct(config, True)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element().lstrip("+~")
        if key in ("resume", "allow"):
            continue
        if is_group(key):
            raise ConfigError(
                f"'{override.input_line}' chooses a configuration group, but resume={run} goes on "
                f"with its own {path}; leave it out, or start a run in a new folder without resume"
            )
        _apply(config, override, key, path)
    OmegaConf.update(config, "allow", list(allow), force_add=True)
    return RunConfig.parse(config)


def _apply(config: DictConfig, override: Override, key: str, path: Path) -> None:
    if override.is_delete():
        raise ConfigError(
            f"'{override.input_line}' takes a key away from a run that has started; set a value, "
            "such as null, instead"
        )
    try:
        OmegaConf.update(config, key, override.value(), merge=True, force_add=override.is_add())
    except OmegaConfBaseException as error:
        raise ConfigError(f"'{override.input_line}' does not fit {path}: {error}") from None


def warn_of_changes(content: dict[str, Any], folder: Path) -> None:
    """Log what differs from the configuration with which the run in `folder` was started."""
    path = folder / CONFIG
    if not path.is_file():
        return
    try:
        old, new = dict(_leaves(read_config(path))), dict(_leaves(content))
    except ForeignError as error:
        raise ConfigError(f"{error}; restore the file, or start a run in a new folder") from None
    for key in sorted(set(old) | set(new)):
        if key.split(".")[0] not in _NO_RESULT and old.get(key) != new.get(key):
            log.warning("%s was %r when the run started, now %r", key, old.get(key), new.get(key))


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
