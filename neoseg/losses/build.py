"""A loss term from its settings, and what a list of all terms shows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from neoseg.findings.nearest import nearest
from neoseg.labels import Codebook
from neoseg.losses.registry import LossError, find_term, names, terms_for
from neoseg.losses.share import Share
from neoseg.losses.term import LossTerm


@dataclass(frozen=True)
class TermDescription:
    """What a list of the available terms shows; `notes` explain the `settings`, by their names."""

    name: str
    summary: str
    heads: tuple[str, ...]
    accepts_partial: bool
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    notes: Mapping[str, str]


def describe(*chosen: str, allow: Sequence[str] = ()) -> tuple[TermDescription, ...]:
    """List terms with summary, heads and settings (with their defaults).

    Args:
        chosen: names or dotted paths; all terms without any.
        allow: packages in which dotted paths may lie.

    Raises:
        LossError: a term that cannot be found or imported.
    """
    return tuple(_describe(name, find_term(name, allow)) for name in chosen or names())


def settings_of(term: type[LossTerm]) -> dict[str, inspect.Parameter]:
    """Return the settings of a term: the keyword arguments of its `__init__`."""
    parameters = inspect.signature(term.__init__).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def make_term(
    name: str,
    codebook: Codebook,
    head: str,
    settings: Mapping[str, Any],
    key: str = "",
    allow: Sequence[str] = (),
) -> LossTerm:
    """Build a term after checking its settings and the head against what it declares.

    Args:
        name: the term, or the dotted path of its class.
        codebook: the label sets of the cohort.
        head: name of the network's head.
        settings: plain values, as in a `loss` entry without weight and ramp.
        key: what error messages call the entry, `name` if empty.
        allow: packages in which dotted paths may lie.

    Raises:
        LossError: unknown term or setting, a value that is missing or does not fit, a head that
            the term does not accept, a class that cannot be made of them.
    """
    term, key = find_term(name, allow), key or name
    if head not in term.heads:
        raise LossError(
            f"loss '{key}': the term '{name}' works with the head "
            f"{' or '.join(sorted(term.heads))}, but the network's head is '{head}'; terms for "
            f"'{head}': {', '.join(terms_for(head)) or 'none'}"
        )
    known, hints = settings_of(term), _hints(term)
    values: dict[str, Any] = {}
    for setting, value in settings.items():
        if setting not in known:
            raise LossError(
                f"loss '{key}': the term '{name}' has no setting '{setting}'"
                f"{nearest(setting, [*known, 'weight', 'ramp', 'term'])}"
            )
        try:
            adapter = TypeAdapter(hints.get(setting, Any), config=ConfigDict(allow_inf_nan=False))
            values[setting] = adapter.validate_python(value)
        except ValidationError as error:
            reasons = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
            raise LossError(f"loss.{key}.{setting} is {value!r}: {reasons}") from None
    for setting, parameter in known.items():
        if parameter.default is parameter.empty and setting not in values:
            raise LossError(f"loss.{key}.{setting} is missing; the term '{name}' has no default")
    try:
        return term(codebook, **values)
    except TypeError as error:
        raise LossError(
            f"loss '{key}': {term.__module__}.{term.__qualname__} cannot be made: {error}; it "
            "begins with def __init__(self, codebook, *, SETTING=DEFAULT): "
            "super().__init__(codebook)"
        ) from error


def _hints(term: type[LossTerm]) -> dict[str, Any]:
    try:
        return get_type_hints(term.__init__, include_extras=True)
    except NameError as error:
        raise LossError(
            f"the annotations of {term.__module__}.{term.__qualname__}.__init__ name what its "
            f"module does not have: {error}"
        ) from None


def _describe(name: str, term: type[LossTerm]) -> TermDescription:
    needs = {
        "teacher": term.needs_teacher,
        "peer": term.needs_peer,
        "noisy passes": term.needs_passes,
    }
    hints = _hints(term)
    return TermDescription(
        name=name,
        summary=(inspect.getdoc(term) or "").partition("\n")[0],
        heads=tuple(sorted(term.heads)),
        accepts_partial=term.accepts_partial,
        needs=tuple(need for need, there in needs.items() if there),
        settings={"weight": 1.0, "ramp": term.ramp}
        | {key: p.default for key, p in settings_of(term).items()},
        notes={key: field.description or "" for key, field in Share.model_fields.items()}
        | {key: _note(hints.get(key)) for key in settings_of(term)},
    )


def _note(hint: Any) -> str:
    """Return the last description of an annotation."""
    found = (part for part in getattr(hint, "__metadata__", ()) if isinstance(part, FieldInfo))
    return next((part.description for part in reversed([*found]) if part.description), "")
