"""Checking plain values against the settings that they become, a message for each wrong key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import CohortError, Problem


class ConfigError(NeosegError):
    """A configuration that cannot work; the message names the key."""


class WrongKeysError(NeosegError):
    """Several messages about one section, for validators that find more than one."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(dict.fromkeys(lines))
        super().__init__("; ".join(self.lines))

    @classmethod
    def require_none(cls, lines: Iterable[str]) -> None:
        """Raise where there is a line."""
        error = cls(lines)
        if error.lines:
            raise error


class Section(BaseModel):
    """Keys that a user writes; those that do not exist are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, raw: Any, key: str = "") -> Self:
        """Check plain containers that stand under `key` ("" is the top level).

        Raises:
            ConfigError: with everything that is wrong.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(listed(wrong_keys(error, cls, key))) from None


def dotted(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested containers by dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        within = isinstance(value, dict)
        found |= dotted(value, f"{prefix}{key}.") if within else {f"{prefix}{key}": value}
    return found


def listed(messages: Iterable[str]) -> str:
    """Write messages as one: alone as it is, several below a title."""
    found = list(dict.fromkeys(messages))
    if len(found) == 1:
        return found[0]
    lines = "\n".join(f"  - {text}" for text in found)
    return f"the configuration has {len(found)} problems:\n{lines}"


def own_errors(error: ValidationError) -> list[ErrorDetails]:
    """Return what is wrong, without lists said to be short because all their items are wrong."""
    found = error.errors()
    places = [item["loc"] for item in found]
    return [
        item
        for item in found
        if item["type"] != "too_short"
        or not any(
            len(p) > len(item["loc"]) and p[: len(item["loc"])] == item["loc"] for p in places
        )
    ]


LONGEST = 200
"""Letters of a value that is shown: a whole label table would hide what is said of it."""

_OF_LISTS = ("tuple_type", "list_type", "too_long")


def wrong_keys(error: ValidationError, model: type[BaseModel], key: str) -> Iterator[str]:
    """Yield what is wrong with each key, of those that do not exist with the nearest that does."""
    for item in own_errors(error):
        # Names of the members of a union stand in the path, too.
        path = [str(part) for part in item["loc"] if "[" not in str(part)]
        place = ".".join(part for part in (key, *path) if part)
        raised = item.get("ctx", {}).get("error")
        if isinstance(raised, WrongKeysError):
            yield from raised.lines
        elif isinstance(raised, NeosegError):
            yield str(raised)  # says itself which key
        elif item["type"] == "extra_forbidden":
            near = nearest(path[-1], fields_at(model, path[:-1]))
            if "." in place:
                yield f"{place} = {item['input']!r}: there is no such key{near}"
            else:
                yield f"there is no key '{place}'{near}"
        elif item["type"] in _OF_LISTS or _is_of_a_list(item):
            yield _as_list(item, model, key, path[:-1] if _is_of_a_list(item) else path)
        elif item["type"] == "missing" or (len(path) == 1 and not key and item["input"] is None):
            yield f"{place} is not set; {_how_to_set(place)}"
        elif path and len(repr(item["input"])) <= LONGEST:
            yield f"{place} = {item['input']!r}: {item['msg'] if raised is None else raised}"
        else:
            yield f"{place}: {item['msg'] if raised is None else raised}"


def _is_of_a_list(item: ErrorDetails) -> bool:
    return item["type"] == "missing" and isinstance(item["loc"][-1], int)


def _as_list(item: ErrorDetails, model: type[BaseModel], key: str, path: list[str]) -> str:
    """Say how a list is written, and how many values it has where that is fixed."""
    place = ".".join(part for part in (key, *path) if part)
    value, many = item["input"], _length(model, path)
    given = [*value] if isinstance(value, list | tuple) else [value]
    if path[-1].isdigit():  # of a list of lists
        return f"{place} = {value!r}: {item['msg']}"
    if many is None:
        how = item["msg"] if given == value else f"expected a list; write '{place}=[{value}]'"
        return f"{place} = {value!r}: {how}"
    example = ",".join(map(str, [*given, *(given[-1:] or ["..."]) * many][:many]))
    return f"{place} = {value!r}: expected {many} values; write '{place}=[{example}]'"


def _length(model: type[BaseModel], path: Sequence[str]) -> int | None:
    """Return how many values the tuple has that a path of keys leads to; None where it is open."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        model = next(_models(field.annotation), model) if field is not None else model
    field = model.model_fields.get(path[-1])
    return next(_lengths(field.annotation), None) if field is not None else None


def _lengths(annotation: Any) -> Iterator[int]:
    parts = get_args(annotation)
    if get_origin(annotation) is tuple and ... not in parts:
        yield len(parts)
    for part in parts:
        yield from _lengths(part)


def _how_to_set(key: str) -> str:
    if key == "loss":
        return "choose terms, as in 'loss=[iuc,known_dice]'"
    return f"give it, as in {key}=..." if "." in key else f"choose one of conf/{key}, or give it"


def fields_at(model: type[BaseModel], path: list[str]) -> Iterable[str]:
    """Return the keys of a model, or of the one below it that a path of keys leads to."""
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        field = fields.get(part)
        below = next(_models(field.annotation), None) if field is not None else None
        # A union puts names of its members into the path; they lead nowhere.
        model = below or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(model: type[Settings], raw: Mapping[str, Any], source: str) -> Settings:
    """Check `raw` against a settings model; raises `CohortError` that names every wrong key."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        problems = [
            Problem(
                ".".join([source, *map(str, item["loc"])]),
                f"found {item['input']!r}" if item["loc"] else "the keys contradict each other",
                action=item["msg"],
            )
            for item in own_errors(error)
        ]
        raise CohortError(f"{source} is not valid:", problems) from None
