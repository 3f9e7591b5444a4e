"""Build a loss term from its settings, and describe the available terms."""

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
    """Description of a loss term for listings; `notes` has an explanation for each setting."""

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
        chosen: names or dotted paths; all terms if empty.
        allow: packages that dotted paths may refer to.

    Raises:
        LossError: a term cannot be found or imported.
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
    """Build a term after checking the head and the settings against its declarations.

    Args:
        name: the term, or the dotted path of its class.
        codebook: the label sets of the cohort.
        head: name of the network's head.
        settings: plain values, as in a `loss` entry without weight and ramp.
        key: name of the entry in error messages, `name` if empty.
        allow: packages that dotted paths may refer to.

    Raises:
        LossError: an unknown term or setting, a missing or invalid value, a head that the term
            does not accept, or a class that cannot be instantiated with the settings.
    """
    term, key = find_term(name, allow), key or name
    if head not in term.heads:
        raise LossError(
            f"loss '{key}': the term '{name}' works with the head "
            f"{' or '.join(sorted(term.heads))}, but the network's head is '{head}'; terms for "
            f"'{head}': {', '.join(terms_for(head)) or 'none'}"
        )
    parameters, hints = settings_of(term), _hints(term)
    values: dict[str, Any] = {}
    for setting, value in settings.items():
        if setting not in parameters:
            raise LossError(
                f"loss '{key}': the term '{name}' has no setting '{setting}'"
                f"{nearest(setting, [*parameters, 'weight', 'ramp', 'term'])}"
            )
        try:
            adapter = TypeAdapter(hints.get(setting, Any), config=ConfigDict(allow_inf_nan=False))
            values[setting] = adapter.validate_python(value)
        except ValidationError as error:
            reasons = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
            raise LossError(f"loss.{key}.{setting} is {value!r}: {reasons}") from None
    for setting, parameter in parameters.items():
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
        needs=tuple(need for need, needed in needs.items() if needed),
        settings={"weight": 1.0, "ramp": term.ramp}
        | {key: p.default for key, p in settings_of(term).items()},
        notes={key: field.description or "" for key, field in Share.model_fields.items()}
        | {key: _note(hints.get(key)) for key in settings_of(term)},
    )


def _note(hint: Any) -> str:
    """Return the last description in an annotation, "" if it has none."""
    fields = (part for part in getattr(hint, "__metadata__", ()) if isinstance(part, FieldInfo))
    return next((part.description for part in reversed([*fields]) if part.description), "")
