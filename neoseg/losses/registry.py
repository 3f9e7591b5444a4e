"""Loss terms by name: a file of this folder each, and those of other packages and scripts."""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, TypeVar, overload

from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.losses.term import LossTerm

GROUP = "neoseg.losses"
"""Group of entry points in which an installed package declares its terms, name to class."""

BUILT_IN = tuple(
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if not module.ispkg
    and not module.name.startswith("_")
    and module.name not in {"term", "registry", "share", "build", "objective"}
)
"""Names of the terms of this folder, in alphabetical order; a new file is here by being there."""

_registered: dict[str, type[LossTerm]] = {}

Term = TypeVar("Term", bound=type[LossTerm])


class LossError(NeosegError):
    """A loss configuration that cannot be built; the message says what to change."""


@overload
def register_loss(term: Term) -> Term: ...
@overload
def register_loss(term: str) -> Callable[[Term], Term]: ...


def register_loss(term: Any) -> Any:
    """Make a term of a script, a notebook or a package known by a name.

    `@register_loss("name")`, or `@register_loss` for the name of the file that defines the class.
    What runs a second time, such as the cell of a notebook, replaces its own term.

    Raises:
        LossError: no term, a name that is taken or no identifier, or none where there is no file.
    """
    if isinstance(term, str):
        return lambda found: _register(term, found)
    file = getattr(sys.modules.get(getattr(term, "__module__", "")), "__file__", None)
    if file is None:
        raise LossError(f"{term!r} stands in no file; name it, as in @register_loss('my_loss')")
    return _register(Path(file).stem, term)


def names() -> tuple[str, ...]:
    """Names of all terms, in alphabetical order; nothing is imported."""
    return tuple(sorted({*BUILT_IN, *_registered, *_declared().names}))


def find_term(name: str, allow: Sequence[str] = ()) -> type[LossTerm]:
    """Return the class of a term, and import it if need be.

    Args:
        name: one of `names()`, or the dotted path of a class.
        allow: packages in which dotted paths may lie.

    Raises:
        LossError: a name that is not there (with the nearest that are) or that two terms have, a
            class that cannot be imported, is no term or lies where it must not.
    """
    if "." in name:
        return _at_path(name, allow)
    owners: dict[str, Callable[[], type[LossTerm]]] = {}
    if name in BUILT_IN:
        owners[f"neoseg.losses.{name}"] = lambda: _of_file(name)
    registered = _registered.get(name)
    if registered is not None:
        owners[_place(registered)] = lambda: registered
    for entry in _declared().select(name=name):
        # A package may declare a term and register it too.
        if registered is None or _top(registered.__module__) != _top(entry.module):
            owners[f"{entry.value} of the package '{_package(entry)}'"] = partial(_load, entry)
    if not owners:
        raise LossError(f"there is no loss term '{name}'{nearest(name, names())}")
    if len(owners) > 1:
        raise LossError(
            f"the loss term '{name}' is defined more than once, by {' and by '.join(owners)}; "
            "rename one, or uninstall its package"
        )
    return next(iter(owners.values()))()


def terms_for(head: str) -> tuple[str, ...]:
    """Names of the terms that accept a head, without those that cannot be loaded."""
    found = []
    for name in names():
        try:
            term = find_term(name)
        except LossError:
            continue
        if head in term.heads:
            found.append(name)
    return tuple(found)


@cache
def _declared() -> EntryPoints:
    """Entry points of the installed packages; nothing is imported."""
    return entry_points(group=GROUP)


def _register(name: str, term: Any) -> type[LossTerm]:
    found = _require_term(term, f"@register_loss('{name}')")
    if not name.isidentifier():
        raise LossError(f"loss term '{name}': use a name of letters, digits and underscores")
    taken = f"neoseg.losses.{name}" if name in BUILT_IN else None
    if name in _registered and _place(_registered[name]) != _place(found):
        taken = _place(_registered[name])
    if taken:
        raise LossError(f"the loss term '{name}' of {_place(found)} is that of {taken} already")
    _registered[name] = found
    return found


def _of_file(name: str) -> type[LossTerm]:
    path = f"neoseg.losses.{name}"
    terms: list[type[LossTerm]] = [
        entry
        for entry in vars(import_module(path)).values()
        if inspect.isclass(entry)
        and issubclass(entry, LossTerm)
        and entry.__module__ == path
        and not inspect.isabstract(entry)
    ]
    if len(terms) != 1:
        raise LossError(f"{path} defines {len(terms)} loss terms, expected one a file")
    return terms[0]


def _load(entry: EntryPoint) -> type[LossTerm]:
    try:
        found = entry.load()
    except Exception as error:  # whatever a package may raise when it is imported
        raise LossError(
            f"the loss term '{entry.name}' of the package '{_package(entry)}' ({entry.value}) "
            f"cannot be imported: {type(error).__name__}: {error}; repair or uninstall the package"
        ) from error
    return _require_term(found, f"'{entry.name}' of the package '{_package(entry)}'")


def _at_path(path: str, allow: Sequence[str]) -> type[LossTerm]:
    packages = ("neoseg.losses", *allow)

    def require_inside(place: str) -> None:
        if not any(f"{place}.".startswith(f"{package}.") for package in packages):
            raise LossError(
                f"the loss term '{path}' lies in {place}, outside {', '.join(packages)}; if you "
                f"trust that package, add allow=[{_top(place)}] to the command line"
            )

    require_inside(path)
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # whatever a module may raise when it is imported
        raise LossError(
            f"the loss term '{path}' cannot be imported: {type(error).__name__}: {error}"
        ) from error
    term = _require_term(found, f"'{path}'")
    require_inside(term.__module__)  # a path can leave its package by what that imports
    return term


def _require_term(found: Any, where: str) -> type[LossTerm]:
    if not (inspect.isclass(found) and issubclass(found, LossTerm)) or inspect.isabstract(found):
        raise LossError(
            f"loss term {where} is {found!r}, expected a class that derives from "
            "neoseg.losses.LossTerm and defines its methods"
        )
    heads = getattr(found, "heads", None)
    if not isinstance(heads, frozenset) or not heads:
        raise LossError(
            f"loss term {where}: {found.__name__}.heads is {heads!r}, expected a frozenset such as "
            'frozenset({"multilabel"})'
        )
    return found


def _place(term: type[LossTerm]) -> str:
    return f"{term.__module__}:{term.__qualname__}"


def _top(module: str) -> str:
    return module.partition(".")[0]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else _top(entry.module)
