"""Going on with a run by its own configuration."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neoseg.configuration.config import CONFIG_DIR, is_group
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError, dotted
from neoseg.foreign import CONFIG, ForeignError, read_config

log = logging.getLogger(__name__)

_OF_A_START = (
    "resume",
    "allow",
    "find_lr",
    "leaks",
    "plan",
    "trainer.max_time",
    "trainer.max_steps",
)
"""Keys of how a run is started, beside those that name no folder of a job."""

BY_STEP = ("constant", "cosine", "poly")
"""Schedules that follow from the step alone; the others have a state that holds their settings."""


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
        config = OmegaConf.create(_begun(path))
    except ForeignError as error:
        raise ConfigError(str(error)) from None
    OmegaConf.set_struct(config, True)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    OmegaConf.update(config, "trainer.max_steps", None, force_add=True)  # its epochs stand there
    for override in parsed:
        key = override.get_key_element().lstrip("+~")
        if key in ("resume", "allow"):
            continue
        if is_group(key):
            raise ConfigError(
                f"'{override.input_line}' chooses a configuration group, but resume={run} goes on "
                f"with its own {path}; leave it out, or start a run in a new folder without resume"
            )
        _refuse_another_optimizer(config, override, key)
        _apply(config, override, key, path)
    _keep_here(config, {override.get_key_element().lstrip("+~") for override in parsed}, run)
    _in_whole_epochs(config)
    OmegaConf.update(config, "allow", list(allow), force_add=True)
    return RunConfig.parse(config)


def _keep_here(config: DictConfig, given: Collection[str], run: Path) -> None:
    """Send curves to a service only if the command line says so.

    The run may be a stranger's, and its settings name who would get the configuration.
    """
    for key, sends, here in (
        ("logger.wandb.mode", lambda mode: mode == "online", "offline"),
        ("logger.mlflow.uri", lambda uri: uri is not None, None),
    ):
        asked = OmegaConf.select(config, key)
        if sends(asked) and key not in given:
            OmegaConf.update(config, key, here)
            log.warning(
                "%s sent its curves to a service (%s=%s); they stay in the run folder unless the "
                "command says so again: add %s=%s",
                *(run, key, asked, key, asked),
            )


def _begun(path: Path) -> dict[str, Any]:
    """Read the configuration with which a run began, also one of an earlier version."""
    content = read_config(path)
    losses = content.get("loss")
    for name, entry in losses.items() if isinstance(losses, dict) else ():
        # Before they could be told to, these terms did not weigh as published.
        if isinstance(entry, dict) and entry.get("term", name) in ("class_masked", "tree_min"):
            entry.setdefault("published", False)
    return content


def _in_whole_epochs(config: DictConfig) -> None:
    """Turn more steps into epochs of the length that the run has, or it could not go on exactly."""
    steps = config.trainer.max_steps
    if not isinstance(steps, int) or steps < 1:
        return  # `RunConfig` tells
    epoch = config.patches.steps_per_epoch
    epochs = math.ceil(steps * config.trainer.get("accumulate_grad_batches", 1) / epoch)
    OmegaConf.update(config, "trainer.max_epochs", epochs)
    OmegaConf.update(config, "trainer.max_steps", None)


def _refuse_another_optimizer(config: DictConfig, override: Override, key: str) -> None:
    """Raise `ConfigError` for what an optimizer and its schedule cannot go on with.

    Rates may change, and of a named optimizer weight decay and momentum.
    """
    group, _, name = key.partition(".")
    if group != "optimizer":
        return
    free = {"lr", "fused"}
    if config.optimizer.get("_target_") is None:
        free |= {"weight_decay", "momentum"}
    if config.optimizer.get("schedule") in BY_STEP:
        free |= {"warmup_steps"} | ({"schedule"} if override.value() in BY_STEP else set())
    if name in free:
        return
    old = OmegaConf.select(config, key)
    if override.value() != (OmegaConf.to_container(old) if OmegaConf.is_config(old) else old):
        raise ConfigError(
            f"'{override.input_line}': the run was started with {old}, and what the optimizer has "
            "gathered since fits nothing else; leave it as it was, or start another run from these "
            "weights with init_from=RUN_DIR"
        )


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


def changed_settings(content: dict[str, Any], folder: Path) -> list[str]:
    """Tell what differs from the configuration with which the run in `folder` was started.

    Keys that change no result are those that name no folder of a job (`conf/train.yaml`).

    Raises:
        ConfigError: a configuration of the run that cannot be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        return []
    try:
        old, new = dotted(_begun(path)), dotted(content)
    except ForeignError as error:
        raise ConfigError(f"{error}; restore the file, or start a run in a new folder") from None
    return [
        f"{key} was {old.get(key)!r} in the run, and is {new.get(key)!r} now"
        for key in sorted(set(old) | set(new))
        if old.get(key) != new.get(key)
        and not any(fnmatchcase(key, pattern) for pattern in no_result_keys())
    ]


@cache
def no_result_keys() -> tuple[str, ...]:
    """Return the patterns of keys that may change between two starts of a run."""
    content = yaml.safe_load((CONFIG_DIR / "train.yaml").read_text(encoding="utf-8"))
    job = content["hydra"]["job"]["config"]
    return (*_OF_A_START, *job["override_dirname"]["exclude_keys"])
