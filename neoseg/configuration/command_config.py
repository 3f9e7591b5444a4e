"""Typed command configurations, parsed once; all problems are reported together."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo

from neoseg.configuration.overrides import unset_keys
from neoseg.findings.settings import ConfigError, Section, listed
from neoseg.foreign.values import is_storable


def _as_list(value: Any) -> Any:
    return [] if value is None else value if isinstance(value, list) else [value]


def _require_runs(runs: Any) -> Any:
    if isinstance(runs, list) and not runs:
        raise ConfigError("run is an empty list; name one run folder or more")
    return [runs] if isinstance(runs, str) else runs


SEVERAL = BeforeValidator(_as_list)
"""Of a tuple: a single value stands for a list of it, and null for an empty one."""

RunFolders = Annotated[tuple[Path, ...], Field(min_length=1), BeforeValidator(_require_runs)]
"""One trained run or several."""

Earlier = Mapping[str, Any]
"""The valid values of the fields that a model declares before the one that is checked."""


def checked(check: Callable[[Any, Earlier], object]) -> AfterValidator:
    """Return a validator that calls `check` with a valid value and the valid ones before it."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        check(value, info.data)
        return value

    return AfterValidator(validate)


class CommandConfig(Section):
    """Base of typed `conf/<command>.yaml` files: each key is a field, each group a section."""

    _content: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def parse(cls, config: DictConfig | dict[str, Any]) -> Self:
        """Validate and parse a composed configuration, or the one of a run folder.

        Raises:
            ConfigError: listing all problems.
        """
        if isinstance(config, DictConfig):
            unset = list(unset_keys(config))
            if unset:
                raise ConfigError(listed(unset))
            config = to_plain(config)
        if unusable := list(_unusable_values(config)):
            raise ConfigError(listed(unusable))
        config = cls.completed(config)
        parsed = cls.read(config)
        parsed._content = config
        return parsed

    @classmethod
    def completed(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Return the plain containers with keys filled in that follow from others."""
        return config

    @property
    def content(self) -> dict[str, Any]:
        """The plain containers that were parsed, to be saved with a run."""
        return self._content


def _unusable_values(content: Any, key: str = "") -> Iterator[str]:
    """Yield a message for each value that no file of a run could hold."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _unusable_values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _unusable_values(value, f"{key}.{number}")
    elif isinstance(content, int | float) and not is_storable(content):
        yield f"{key} = {content}: expected a finite number, from -2^63 to below 2^63"
    elif isinstance(content, str) and "${" in content:
        yield f"{key} = {content!r}: expected no ${{ in it, since files of runs hold values alone"


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain containers, with interpolations resolved."""
    content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
