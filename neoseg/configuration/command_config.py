"""A command's configuration: parsed once, with every problem at once, and typed from there on."""

from __future__ import annotations

from typing import Any, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import PrivateAttr

from neoseg.configuration.overrides import unset_keys
from neoseg.findings.settings import ConfigError, Section, listed


class CommandConfig(Section):
    """What the keys of a `conf/<command>.yaml` become. A key is a field, a group a section."""

    _content: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def parse(cls, config: DictConfig | dict[str, Any]) -> Self:
        """Check a composed configuration, or that of a run folder.

        Raises:
            ConfigError: with everything that was found.
        """
        if isinstance(config, DictConfig):
            unset = list(unset_keys(config))
            if unset:
                raise ConfigError(listed(unset))
            config = to_plain(config)
        config = cls.completed(config)
        parsed = cls.read(config)
        parsed._content = config
        return parsed

    @classmethod
    def completed(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Return the containers with what follows for some keys from others."""
        return config

    @property
    def content(self) -> dict[str, Any]:
        """The plain containers that were parsed, for the files of a run."""
        return self._content


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Return resolved plain containers."""
    found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}
