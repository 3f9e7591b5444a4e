"""Validate plain values against settings models, with a message for each invalid key."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import Parameter
from typing import Any, Self, TypeVar, get_args, get_origin
from warnings import catch_warnings

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import CohortError, Problem


class ConfigError(NeosegError):
    """A configuration that cannot work; the message names the key."""


class WrongKeysError(NeosegError):
    """Several messages about one section, for validators that find more than one problem."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(dict.fromkeys(lines))
        super().__init__("; ".join(self.lines))

    @classmethod
    def require_none(cls, lines: Iterable[str]) -> None:
        """Raise if there are any lines."""
        error = cls(lines)
        if error.lines:
            raise error


class Section(BaseModel):
    """Keys that a user writes; unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, raw: Any, key: str = "") -> Self:
        """Validate plain containers found under `key` ("" is the top level).

        Raises:
            ConfigError: lists every invalid key.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(listed(wrong_keys(error, cls, key))) from None


def dotted(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested containers to dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict)
        flat |= dotted(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def listed(messages: Iterable[str]) -> str:
    """Join messages: a single one stays as it is, several are listed below a title."""
    unique = list(dict.fromkeys(messages))
    if len(unique) == 1:
        return unique[0]
    lines = "\n".join(f"  - {text}" for text in unique)
    return f"the configuration has {len(unique)} problems:\n{lines}"


def own_errors(error: ValidationError) -> list[ErrorDetails]:
    """Return the errors without those that follow from others.

    Such are lists reported too short because all their items are invalid, and defaults that are
    computed from an invalid value.
    """
    errors = [e for e in error.errors() if e["type"] != "default_factory_not_called"]
    locations = [item["loc"] for item in errors]
    return [
        item
        for item in errors
        if item["type"] != "too_short"
        or not any(
            len(p) > len(item["loc"]) and p[: len(item["loc"])] == item["loc"] for p in locations
        )
    ]


MAX_SHOWN = 200
"""Longest value shown in a message, in characters; a whole label table would hide the rest."""

_LIST_ERRORS = ("tuple_type", "list_type", "too_long")


def wrong_keys(error: ValidationError, model: type[BaseModel], key: str) -> Iterator[str]:
    """Yield a message for each invalid key; for one that does not exist, with the nearest ones."""
    for item in own_errors(error):
        # Locations also contain names of union members, such as `list[int]`, which are dropped.
        path = [str(part) for part in item["loc"] if "[" not in str(part)]
        place = ".".join(part for part in (key, *path) if part)
        raised = item.get("ctx", {}).get("error")
        if isinstance(raised, WrongKeysError):
            yield from raised.lines
        elif isinstance(raised, NeosegError):
            yield str(raised)  # names the key itself
        elif item["type"] == "extra_forbidden":
            near = nearest(path[-1], fields_at(model, path[:-1]))
            if "." in place:
                yield f"{place} = {item['input']!r}: there is no such key{near}"
            else:
                yield f"there is no key '{place}'{near}"
        elif item["type"] in _LIST_ERRORS or _is_missing_item(item):
            yield _list_message(item, model, key, path[:-1] if _is_missing_item(item) else path)
        elif item["type"] == "missing" or (len(path) == 1 and not key and item["input"] is None):
            yield f"{place} is not set; {_how_to_set(place)}"
        elif path and len(repr(item["input"])) <= MAX_SHOWN:
            yield f"{place} = {item['input']!r}: {item['msg'] if raised is None else raised}"
        else:
            yield f"{place}: {item['msg'] if raised is None else raised}"


_LENIENT = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True)


def wrong_type(key: str, value: Any, parameter: Parameter) -> Iterator[str]:
    """Yield a message if a value does not fit the annotation of the parameter that it is for.

    Numbers fit texts, such as ids. The default fits, and anything where an annotation is only for
    people.
    """
    annotation = parameter.annotation
    if isinstance(annotation, str) or annotation is Parameter.empty or value is parameter.default:
        return
    try:
        with catch_warnings(action="ignore"):
            adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_LENIENT)
    except Exception:  # an annotation of another package can be anything
        return
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        expected = dict.fromkeys(item["msg"] for item in error.errors())
        told = "; ".join(text.replace("an instance of Sequence", "a list") for text in expected)
        yield f"{key} = {value!r}: {told}"


def _is_missing_item(item: ErrorDetails) -> bool:
    return item["type"] == "missing" and isinstance(item["loc"][-1], int)


def _list_message(item: ErrorDetails, model: type[BaseModel], key: str, path: list[str]) -> str:
    """Return a message on how to write a list, with the number of its values if that is fixed."""
    place = ".".join(part for part in (key, *path) if part)
    value, length = item["input"], _length(model, path)
    given = [*value] if isinstance(value, list | tuple) else [value]
    if path[-1].isdigit():  # of a list of lists
        return f"{place} = {value!r}: {item['msg']}"
    if length is None:
        how = item["msg"] if given == value else f"expected a list; write '{place}=[{value}]'"
        return f"{place} = {value!r}: {how}"
    example = ",".join(map(str, [*given, *(given[-1:] or ["..."]) * length][:length]))
    return f"{place} = {value!r}: expected {length} values; write '{place}=[{example}]'"


def _length(model: type[BaseModel], path: Sequence[str]) -> int | None:
    """Return the length of the tuple at a path of keys; None if it is not fixed."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        model = next(_models(field.annotation), model) if field is not None else model
    field = model.model_fields.get(path[-1])
    return next(_lengths(field.annotation), None) if field is not None else None


def _lengths(annotation: Any) -> Iterator[int]:
    """Yield the lengths of the fixed tuples in an annotation, outermost first."""
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
    """Return the keys of a model, or of the nested model at a path of keys."""
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        field = fields.get(part)
        nested = next(_models(field.annotation), None) if field is not None else None
        # Names of union members in the path are no fields and are skipped.
        model = nested or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(model: type[Settings], raw: Mapping[str, Any], source: str) -> Settings:
    """Validate `raw` against a settings model; raises `CohortError` that names each invalid key."""
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
