"""Values of a plan in a configuration: above the defaults, below what somebody has set."""

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
"""Values of the key `plan` beside the name of a file."""

PLAN_FILE = "plan.yaml"
"""In a run folder: what was planned for the run."""

SIZES = (
    *("patches.size", "patches.batch_size", "patches.steps_per_epoch", "network"),
    *("trainer.max_epochs", "trainer.max_steps"),
)
"""Keys of which none may be given for a plan to be made without being asked for."""

PLANNED = frozenset({"network", "optimizer", "patches", "store", "trainer", "window"})
"""Groups that a plan may set; a stranger's file has no say in where data go."""

PLACES = frozenset({"trainer"})
"""Groups whose choice says where a run takes place, not how large it is."""

PHANTOM = "neoseg.cohort.read_phantom"


def read_plan_file(path: Path) -> dict[str, Any]:
    """Return the values of a file of `neoseg.plan` by dotted keys; a network is one value.

    Raises:
        ConfigError: a file that is not there or cannot be read.
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
    if other := sorted(set(content) - PLANNED):
        raise ConfigError(
            f"plan={path} sets '{other[0]}', expected sizes and steps alone "
            f"({', '.join(sorted(PLANNED))}); give it on the command line"
        )
    found: dict[str, Any] = {}
    for group, values in content.items():
        if isinstance(values, dict) and group != "network":
            found |= {f"{group}.{key}": value for key, value in values.items()}
        else:
            found[str(group)] = values
    return found


def with_values(config: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return a copy with the values of dotted keys."""
    found = config.copy()
    OmegaConf.set_struct(found, False)
    for key, value in values.items():
        OmegaConf.update(found, key, value, merge=False)
    return found


def with_plan(config: DictConfig, given: Given, folder: Path | None) -> tuple[DictConfig, bool]:
    """Return a configuration with the values of its plan, and whether that is still to be made.

    The plan is the one in the run folder, where the run has started, else the file that the key
    names. One that is to be made leaves values with which the configuration is sound.

    Raises:
        ConfigError: a file that cannot be read.
    """
    if config.get("resume") is not None:
        return config, False
    file = Path() if folder is None else folder / PLAN_FILE
    if not file.is_file() and config.plan not in (AUTO, ALWAYS, NONE):
        file = Path(config.plan)
    elif not file.is_file():
        made = config.plan == ALWAYS or (_may_plan(config) and not hindrance(config, given))
        return (provisional(config, given) if made else config), made
    values = read_plan_file(file)
    return with_values(config, {k: v for k, v in values.items() if k not in given}), False


def hindrance(config: DictConfig, given: Given) -> str:
    """Return the key for whose sake no plan is made of itself where it could be; "" without one."""
    return next((key for key in SIZES if key in given), "") if _may_plan(config) else ""


def _may_plan(config: DictConfig) -> bool:
    own = OmegaConf.select(config, "cohort._target_") != PHANTOM
    return bool(config.plan == AUTO and own and config.get("resume") is None)


def provisional(config: DictConfig, given: Given) -> DictConfig:
    """Return a configuration whose patch and batch fit the network and the devices for now."""
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
    """The keys that somebody has set: by overrides, a group of their own, or an experiment.

    A value that is not that of its group's file was set by an experiment or a configuration. What
    one sets to the very default cannot be told from the default.
    """

    def __init__(
        self, config: DictConfig, overrides: Sequence[str], choices: Mapping[str, Any]
    ) -> None:
        self.config, self.choices = config, choices
        self.keys = {re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0] for line in overrides}
        self.known: dict[object, bool] = {}

    @classmethod
    def of_hydra(cls, config: DictConfig, hydra: Any) -> Given:
        """Return what the node `hydra` of a composed configuration tells."""
        return cls(config, list(hydra.overrides.task), hydra.runtime.choices)

    def __contains__(self, key: object) -> bool:
        if key not in self.known:  # it is asked for each patch that is tried
            self.known[key] = self._is_given(str(key))
        return self.known[key]

    def _is_given(self, key: str) -> bool:
        group = key.partition(".")[0]
        # `patches=gpu` is told by the choice.
        named = (k for k in self.keys if "." in k or not (CONFIG_DIR / k).is_dir())
        if any(f"{key}.".startswith(f"{k}.") or k.startswith(f"{key}.") for k in named):
            return True
        choice = self.choices.get(group)
        if choice is None or not (CONFIG_DIR / group / f"{choice}.yaml").is_file():
            return True
        stated = settings_of(f"{group}/{choice}.yaml").items()
        defaults = {k: s.value for k, s in stated if not isinstance(s.value, dict)}
        if not defaults:
            return True
        if group not in PLACES and (choice != choices_of("train").get(group) or group in self.keys):
            return True
        plain = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(plain, dict)
        now = dotted({group: plain.get(group) or {}})
        keys = [k for k in {*now, *defaults} if f"{k}.".startswith(f"{key}.")]
        return any(now.get(k) != defaults.get(k) for k in keys)
