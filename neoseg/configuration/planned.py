"""Apply the values of a plan to a configuration: they override defaults, not explicit settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.described import choices_of, settings_of
from neoseg.configuration.trainer import TrainerSettings
from neoseg.findings.settings import ConfigError, dotted
from neoseg.foreign import ForeignError
from neoseg.foreign.values import read_yaml, require_values
from neoseg.networks import divisors_of

AUTO, ALWAYS, NONE = "auto", "always", "none"
"""Values of the key `plan` other than the name of a file."""

PLAN_FILE = "plan.yaml"
"""File of a run folder with the values planned for the run."""

_SIZE_KEYS = (
    *("patches.size", "patches.batch_size", "patches.steps_per_epoch", "network"),
    *("trainer.max_epochs", "trainer.max_steps"),
)
"""If any of these keys is given, `plan=auto` makes no plan."""

_PLANNED_GROUPS = frozenset({"network", "optimizer", "patches", "store", "trainer", "window"})
"""Groups that a plan may set. The file may be a stranger's, so it cannot say where data go."""

_PLANNED_KEYS = frozenset({"augment.spatial.elastic", "augment.spatial.elastic_grid"})
"""Keys of other groups that it may set."""

_PLACE_GROUPS = frozenset({"trainer"})
"""Groups whose option selects where a run takes place, not its sizes."""

_PHANTOM_READER = "neoseg.cohort.read_phantom"


def read_plan_file(path: Path) -> dict[str, Any]:
    """Return the values of a file of `neoseg.plan` by dotted key; the network is a single value.

    Raises:
        ConfigError: a missing or unreadable file.
    """
    if not path.is_file():
        raise ConfigError(
            f"plan={path} is not there; give auto, always, none, or a file that neoseg.plan wrote"
        )
    try:
        content = read_yaml(path)
        require_values(content, str(path))
    except ForeignError as error:
        raise ConfigError(str(error)) from None
    result: dict[str, Any] = {}
    for group, values in content.items():
        if isinstance(values, dict) and group != "network":
            result |= {f"{group}.{key}": value for key, value in values.items()}
        else:
            result[str(group)] = values
    groups = {key.partition(".")[0] for key in result.keys() - _PLANNED_KEYS}
    if unexpected := sorted(groups - _PLANNED_GROUPS):
        raise ConfigError(
            f"plan={path} sets '{unexpected[0]}', expected sizes and steps alone "
            f"({', '.join(sorted(_PLANNED_GROUPS))}); give it on the command line"
        )
    return result


def with_values(config: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return a copy of a configuration with the given values by dotted key."""
    copy = config.copy()
    OmegaConf.set_struct(copy, False)
    for key, value in values.items():
        OmegaConf.update(copy, key, value, merge=False)
    return copy


def with_plan(config: DictConfig, given: Given, folder: Path | None) -> tuple[DictConfig, bool]:
    """Return a configuration with the values of its plan, and whether a plan is yet to be made.

    The plan is read from the file that the key `plan` names, else from the run folder if it has
    one. If a plan is yet to be made, the configuration gets valid provisional values.

    Raises:
        ConfigError: an unreadable file.
    """
    if config.get("resume") is not None:
        return config, False
    file = Path() if folder is None else folder / PLAN_FILE
    if config.plan not in (AUTO, ALWAYS, NONE):
        file = Path(config.plan)
    elif not file.is_file():
        is_open = config.plan == ALWAYS or (_may_plan(config) and not hindrance(config, given))
        return (provisional(config, given) if is_open else config), is_open
    values = read_plan_file(file)
    return with_values(config, {k: v for k, v in values.items() if k not in given}), False


def hindrance(config: DictConfig, given: Given) -> str:
    """Return the first given key that prevents an automatic plan, or ""."""
    return next((key for key in _SIZE_KEYS if key in given), "") if _may_plan(config) else ""


def _may_plan(config: DictConfig) -> bool:
    is_real = OmegaConf.select(config, "cohort._target_") != _PHANTOM_READER
    return bool(config.plan == AUTO and is_real and config.get("resume") is None)


def provisional(config: DictConfig, given: Given) -> DictConfig:
    """Return a configuration with provisional, valid patch and batch sizes."""
    values: dict[str, Any] = {} if "network" in given else {"network.divisor": 1}
    if "patches.size" not in given:
        divisor = _plain(config.network.divisor) if "network" in given else 1
        values["patches.size"] = [2 * n for n in divisors_of({"divisor": divisor})]
    if "patches.batch_size" not in given:
        trainer = OmegaConf.to_container(config.trainer)
        values["patches.batch_size"] = 4 * TrainerSettings.read(trainer, "trainer").processes
    return with_values(config, values)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


class Given:
    """The keys that are set explicitly: by an override, a non-default group, or an experiment.

    A value that differs from the file of its group was set by an experiment or a configuration
    file. A key that one of them sets to its default counts as not given.
    """

    def __init__(
        self, config: DictConfig, overrides: Sequence[str], choices: Mapping[str, Any]
    ) -> None:
        self.config, self.choices = config, choices
        self.keys = {re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0] for line in overrides}
        self.known: dict[object, bool] = {}

    @classmethod
    def of_hydra(cls, config: DictConfig, hydra: Any) -> Given:
        """Return the given keys, from the node `hydra` of a composed configuration."""
        return cls(config, list(hydra.overrides.task), hydra.runtime.choices)

    def __contains__(self, key: object) -> bool:
        if key not in self.known:  # looked up for each patch that is tried
            self.known[key] = self._is_given(str(key))
        return self.known[key]

    def _is_given(self, key: str) -> bool:
        group = key.partition(".")[0]
        # An override of a group, such as `patches=gpu`, is covered by `choices` below.
        keys_only = (k for k in self.keys if "." in k or not (CONFIG_DIR / k).is_dir())
        if any(f"{key}.".startswith(f"{k}.") or k.startswith(f"{key}.") for k in keys_only):
            return True
        choice = self.choices.get(group)
        if choice is None or not (CONFIG_DIR / group / f"{choice}.yaml").is_file():
            return True
        settings = settings_of(f"{group}/{choice}.yaml").items()
        defaults = {k: s.value for k, s in settings if not isinstance(s.value, dict)}
        if not defaults:
            return True
        if group not in _PLACE_GROUPS and (
            choice != choices_of("train").get(group) or group in self.keys
        ):
            return True
        plain = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(plain, dict)
        current = dotted({group: plain.get(group) or {}})
        keys = [k for k in {*current, *defaults} if f"{k}.".startswith(f"{key}.")]
        return any(current.get(k) != defaults.get(k) for k in keys)
