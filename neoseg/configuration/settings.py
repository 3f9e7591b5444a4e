"""Checking parts of a configuration against the settings that they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from omegaconf import DictConfig
from pydantic import BaseModel, ValidationError

from neoseg.configuration.config import plain
from neoseg.losses.registry import nearest

Settings = TypeVar("Settings", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration that cannot work; the message names the key."""


def settings_of(model: type[Settings], config: DictConfig, key: str) -> Settings:
    """Check one part of the configuration; raises `ConfigError` that lists every wrong key."""
    if config.get(key) is None:
        raise ConfigError(f"{key} is not set; choose one of conf/{key}, or give its keys")
    return parse(model, plain(config[key]), key)


def parse(model: type[Settings], raw: Any, key: str) -> Settings:
    """Check plain containers that stand under `key`; raises `ConfigError`."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {line}" for line in wrong_keys(error, model, key)]
        raise ConfigError(f"{key} is not valid:\n" + "\n".join(lines)) from None


def wrong_keys(error: ValidationError, model: type[BaseModel], key: str) -> Iterator[str]:
    """Yield what is wrong with each key, of those that do not exist with the nearest that does."""
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        place = ".".join(part for part in (key, *path) if part)
        if item["type"] == "extra_forbidden":
            known = fields_at(model, path[:-1])
            yield f"{place} = {item['input']!r}: there is no such key{nearest(path[-1], known)}"
        elif path:
            yield f"{place} = {item['input']!r}: {item['msg']}"
        else:
            yield f"{place}: {item['msg']}"


def fields_at(model: type[BaseModel], path: list[str]) -> Mapping[str, Any]:
    """Return the fields of a model, or of the one below it that a path of keys leads to."""
    for part in path:
        field = model.model_fields.get(part)
        below = next(_models(field.annotation), None) if field is not None else None
        # A union puts names of its members into the path; they lead nowhere.
        model = below or model
    return model.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
