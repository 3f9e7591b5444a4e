"""The registry: every loss term of this folder under the name of its file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.labels import Codebook
from neoseg.losses.term import LossTerm

_NOT_TERMS = frozenset({"term", "registry", "objective"})


class LossError(NeosegError):
    """A loss configuration that cannot be built; the message says what to change."""


@dataclass(frozen=True)
class TermDescription:
    """What a list of the available terms shows."""

    name: str
    summary: str
    heads: tuple[str, ...]
    accepts_partial: bool
    needs: tuple[str, ...]
    settings: Mapping[str, Any]


def _discover() -> dict[str, type[LossTerm]]:
    found: dict[str, type[LossTerm]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.ispkg or module.name in _NOT_TERMS or module.name.startswith("_"):
            continue
        path = f"neoseg.losses.{module.name}"
        members = vars(importlib.import_module(path)).values()
        terms = [
            entry
            for entry in members
            if inspect.isclass(entry)
            and issubclass(entry, LossTerm)
            and entry.__module__ == path
            and not inspect.isabstract(entry)
        ]
        if len(terms) != 1:
            raise ImportError(f"{path} defines {len(terms)} loss terms, expected one a file")
        found[module.name] = terms[0]
    return found


REGISTRY: Mapping[str, type[LossTerm]] = _discover()
"""Term classes by name, alphabetically. A new file of this folder is here by being there."""


def find_term(name: str) -> type[LossTerm]:
    """Return the class of a term; raises `LossError` with the nearest names it knows."""
    if name not in REGISTRY:
        raise LossError(f"there is no loss term '{name}'{nearest(name, REGISTRY)}")
    return REGISTRY[name]


def terms_for(head: str) -> tuple[str, ...]:
    """Names of the terms that accept a head."""
    return tuple(name for name, term in REGISTRY.items() if head in term.heads)


def describe() -> tuple[TermDescription, ...]:
    """List every term with its summary, heads and settings (with their defaults)."""
    return tuple(
        TermDescription(
            name=name,
            summary=(inspect.getdoc(term) or "").partition("\n")[0],
            heads=tuple(sorted(term.heads)),
            accepts_partial=term.accepts_partial,
            needs=tuple(
                name
                for name, needed in (
                    ("teacher", term.needs_teacher),
                    ("peer", term.needs_peer),
                    ("noisy passes", term.needs_passes),
                )
                if needed
            ),
            settings={key: entry.default for key, entry in settings_of(term).items()},
        )
        for name, term in REGISTRY.items()
    )


def settings_of(term: type[LossTerm]) -> dict[str, inspect.Parameter]:
    """Return the settings of a term: the keyword arguments of its `__init__`."""
    parameters = inspect.signature(term.__init__).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def make_term(
    name: str, codebook: Codebook, head: str, settings: Mapping[str, Any], key: str = ""
) -> LossTerm:
    """Build a term after checking its settings and the head against what it declares.

    Args:
        name: the term.
        codebook: the label sets of the cohort.
        head: name of the network's head.
        settings: plain values, as in `conf/loss/<name>.yaml` without weight and ramp.
        key: what error messages call the entry, `name` if empty.

    Raises:
        LossError: unknown term or setting, a value that does not fit, a head that the term does
            not accept.
    """
    term, key = find_term(name), key or name
    if head not in term.heads:
        raise LossError(
            f"loss '{key}': the term '{name}' works with the head "
            f"{' or '.join(sorted(term.heads))}, but the network's head is '{head}'; terms for "
            f"'{head}': {', '.join(terms_for(head)) or 'none'}"
        )
    known = settings_of(term)
    hints = get_type_hints(term.__init__, include_extras=True)
    values: dict[str, Any] = {}
    for setting, value in settings.items():
        if setting not in known:
            raise LossError(
                f"loss '{key}': the term '{name}' has no setting '{setting}'"
                f"{nearest(setting, [*known, 'weight', 'ramp', 'term'])}"
            )
        try:
            adapter = TypeAdapter(hints[setting], config=ConfigDict(allow_inf_nan=False))
            values[setting] = adapter.validate_python(value)
        except ValidationError as error:
            reasons = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
            raise LossError(f"loss.{key}.{setting} is {value!r}: {reasons}") from None
    return term(codebook, **values)
