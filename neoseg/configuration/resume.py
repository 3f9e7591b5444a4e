"""Resume a run with its own configuration."""

import logging
import math
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neoseg.configuration.config import is_group, no_result_keys
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError, dotted
from neoseg.foreign import CONFIG, ForeignError, read_config

log = logging.getLogger(__name__)

BY_STEP = ("constant", "cosine", "poly")
"""Schedules that depend on the step only; the others keep their settings in a state."""


def resumed(run: Path, overrides: Sequence[str], allow: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a run folder, updated with overrides of the command line.

    Learning rates are tested only if the command line says so.

    Args:
        run: run folder.
        overrides: overrides of the command line, including `resume=...`.
        allow: packages that the command line allows. Those allowed in the run folder do not count,
            since its configuration may come from someone else.

    Raises:
        ConfigError: not a run folder, a configuration group, an unknown key, or an error of
            `RunConfig.parse`.
    """
    path = run / CONFIG
    if not path.is_file():
        raise ConfigError(f"resume={run} is not a run folder: it has no {CONFIG}")
    try:
        config = OmegaConf.create(_read_original(path))
    except ForeignError as error:
        raise ConfigError(str(error)) from None
    OmegaConf.set_struct(config, True)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    OmegaConf.update(config, "trainer.max_steps", None, force_add=True)  # it has epochs instead
    OmegaConf.update(config, "find_lr", None, force_add=True)
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
    _disable_services(config, {override.get_key_element().lstrip("+~") for override in parsed}, run)
    _in_whole_epochs(config)
    OmegaConf.update(config, "allow", list(allow), force_add=True)
    return RunConfig.parse(config)


def _disable_services(config: DictConfig, given: Collection[str], run: Path) -> None:
    """Turn off the tracking services unless the command line names them again.

    The run may be a stranger's, and its settings decide who receives the configuration.
    """
    mode = OmegaConf.select(config, "logger.wandb.mode")
    uri = OmegaConf.select(config, "logger.mlflow.uri")
    for key, value, local in (
        ("logger.wandb.mode", mode if mode == "online" else None, "offline"),
        ("logger.mlflow.uri", uri, None),
    ):
        if value is not None and not any(f"{key}.".startswith(f"{one}.") for one in given):
            OmegaConf.update(config, key, local)
            log.warning(
                "%s sent its curves elsewhere (%s=%s); they stay in the run folder unless the "
                "command says so again: add %s=%s",
                *(run, key, value, key, value),
            )


def _read_original(path: Path) -> dict[str, Any]:
    """Read the configuration with which a run started, possibly in an earlier version."""
    content = read_config(path)
    losses = content.get("loss")
    for name, entry in losses.items() if isinstance(losses, dict) else ():
        # Earlier versions lacked this key and did not weight these terms as published.
        if isinstance(entry, dict) and entry.get("term", name) in ("class_masked", "tree_min"):
            entry.setdefault("published", False)
    return content


def _in_whole_epochs(config: DictConfig) -> None:
    """Convert a new `max_steps` to epochs of unchanged length, so that the run resumes exactly."""
    steps = config.trainer.max_steps
    if not isinstance(steps, int) or steps < 1:
        return  # `RunConfig` reports it
    epoch = config.patches.steps_per_epoch
    epochs = math.ceil(steps * config.trainer.get("accumulate_grad_batches", 1) / epoch)
    OmegaConf.update(config, "trainer.max_epochs", epochs)
    OmegaConf.update(config, "trainer.max_steps", None)


def _refuse_another_optimizer(config: DictConfig, override: Override, key: str) -> None:
    """Raise `ConfigError` for a change that the state of optimizer or schedule does not allow.

    Learning rates may change, and for an optimizer chosen by name weight decay and momentum, too.
    """
    group, _, name = key.partition(".")
    if group != "optimizer":
        return
    mutable = {"lr", "fused"}
    if config.optimizer.get("_target_") is None:
        mutable |= {"weight_decay", "momentum"}
    if config.optimizer.get("schedule") in BY_STEP:
        mutable |= {"warmup_steps"} | ({"schedule"} if override.value() in BY_STEP else set())
    if name in mutable:
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
    """List the differences from the configuration with which the run in `folder` was started.

    Keys that do not affect results (`no_result_keys`) are ignored.

    Raises:
        ConfigError: an unreadable configuration of the run.
    """
    path = folder / CONFIG
    if not path.is_file():
        return []
    try:
        old, new = dotted(_read_original(path)), dotted(content)
    except ForeignError as error:
        raise ConfigError(f"{error}; restore the file, or start a run in a new folder") from None
    return [
        f"{key} was {old.get(key)!r} in the run, and is {new.get(key)!r} now"
        for key in sorted(set(old) | set(new))
        if old.get(key) != new.get(key)
        and not any(fnmatchcase(key, pattern) for pattern in no_result_keys())
    ]
