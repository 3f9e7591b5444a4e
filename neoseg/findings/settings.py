"""Checking parts of a configuration against the settings that they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import CohortError, Problem

Settings = TypeVar("Settings", bound=BaseModel)


class ConfigError(NeosegError):
    """A configuration that cannot work; the message names the key."""


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


def parse_settings(
    model: type[Settings], raw: Settings | Mapping[str, Any], source: str
) -> Settings:
    """Check `raw` against a settings model; raises `CohortError` that names every wrong key."""
    if isinstance(raw, model):
        return raw
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        problems = [
            Problem(
                ".".join([source, *map(str, item["loc"])]),
                f"found {item['input']!r}" if item["loc"] else "the keys contradict each other",
                action=item["msg"],
            )
            for item in error.errors()
        ]
        raise CohortError(f"{source} is not valid:", problems) from None
