"""Loss terms by name: one per file of this folder, and those of other packages and scripts."""

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
"""Entry point group in which installed packages declare their terms, name to class."""

BUILT_IN = tuple(
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if not module.ispkg
    and not module.name.startswith("_")
    and module.name not in {"term", "registry", "share", "build", "objective", "consistency"}
)
"""Names of the terms of this folder, in alphabetical order; new files are found automatically."""

_registered: dict[str, type[LossTerm]] = {}

Term = TypeVar("Term", bound=type[LossTerm])


class LossError(NeosegError):
    """A loss configuration that cannot be built; the message says what to change."""


@overload
def register_loss(term: Term) -> Term: ...
@overload
def register_loss(term: str) -> Callable[[Term], Term]: ...


def register_loss(term: Any) -> Any:
    """Register a term of a script, a notebook or a package under a name.

    Use `@register_loss("name")`, or `@register_loss` for the name of the file that defines the
    class. Code that runs again, such as a notebook cell, replaces its own term.

    Raises:
        LossError: the class is not a term, the name is taken or not an identifier, or no name is
            given and the class is not defined in a file.
    """
    if isinstance(term, str):
        return lambda term_class: _register(term, term_class)
    file = getattr(sys.modules.get(getattr(term, "__module__", "")), "__file__", None)
    if file is None:
        raise LossError(f"{term!r} stands in no file; name it, as in @register_loss('my_loss')")
    return _register(Path(file).stem, term)


def names() -> tuple[str, ...]:
    """Return the names of all terms, in alphabetical order, without importing them."""
    return tuple(sorted({*BUILT_IN, *_registered, *_declared().names}))


def find_term(name: str, allow: Sequence[str] = ()) -> type[LossTerm]:
    """Return the class of a term, importing it if necessary.

    Args:
        name: one of `names()`, or the dotted path of a class.
        allow: packages that dotted paths may refer to.

    Raises:
        LossError: an unknown name (with the nearest known ones) or one that two terms share; a
            class that cannot be imported, is not a term, or is outside the allowed packages.
    """
    if "." in name:
        return _from_path(name, allow)
    owners: dict[str, Callable[[], type[LossTerm]]] = {}
    if name in BUILT_IN:
        owners[f"neoseg.losses.{name}"] = lambda: _from_file(name)
    registered = _registered.get(name)
    if registered is not None:
        owners[_location(registered)] = lambda: registered
    for entry in _declared().select(name=name):
        # A package may declare a term and register it too.
        if registered is None or _top_package(registered.__module__) != _top_package(entry.module):
            owners[f"{entry.value} of the package '{_package_of(entry)}'"] = partial(
                _from_entry_point, entry
            )
    if not owners:
        raise LossError(f"there is no loss term '{name}'{nearest(name, names())}")
    if len(owners) > 1:
        raise LossError(
            f"the loss term '{name}' is defined more than once, by {' and by '.join(owners)}; "
            "rename one, or uninstall its package"
        )
    return next(iter(owners.values()))()


def terms_for(head: str) -> tuple[str, ...]:
    """Return the names of the terms that accept a head, skipping those that cannot be loaded."""
    accepting = []
    for name in names():
        try:
            term = find_term(name)
        except LossError:
            continue
        if head in term.heads:
            accepting.append(name)
    return tuple(accepting)


@cache
def _declared() -> EntryPoints:
    """Return the entry points of the installed packages, without importing them."""
    return entry_points(group=GROUP)


def _register(name: str, term: Any) -> type[LossTerm]:
    term_class = _require_term(term, f"@register_loss('{name}')")
    if not name.isidentifier():
        raise LossError(f"loss term '{name}': use a name of letters, digits and underscores")
    owner = f"neoseg.losses.{name}" if name in BUILT_IN else None
    if name in _registered and _location(_registered[name]) != _location(term_class):
        owner = _location(_registered[name])
    if owner:
        raise LossError(
            f"the loss term '{name}' of {_location(term_class)} is that of {owner} already"
        )
    _registered[name] = term_class
    return term_class


def _from_file(name: str) -> type[LossTerm]:
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


def _from_entry_point(entry: EntryPoint) -> type[LossTerm]:
    try:
        term = entry.load()
    except Exception as error:  # whatever a package may raise when it is imported
        raise LossError(
            f"the loss term '{entry.name}' of the package '{_package_of(entry)}' ({entry.value}) "
            f"cannot be imported: {type(error).__name__}: {error}; repair or uninstall the package"
        ) from error
    return _require_term(term, f"'{entry.name}' of the package '{_package_of(entry)}'")


def _from_path(path: str, allow: Sequence[str]) -> type[LossTerm]:
    packages = ("neoseg.losses", *allow)

    def require_inside(location: str) -> None:
        if not any(f"{location}.".startswith(f"{package}.") for package in packages):
            raise LossError(
                f"the loss term '{path}' lies in {location}, outside {', '.join(packages)}; if you "
                f"trust that package, add allow=[{_top_package(location)}] to the command line"
            )

    require_inside(path)
    module, _, name = path.rpartition(".")
    try:
        target = getattr(import_module(module), name)
    except Exception as error:  # whatever a module may raise when it is imported
        raise LossError(
            f"the loss term '{path}' cannot be imported: {type(error).__name__}: {error}"
        ) from error
    term = _require_term(target, f"'{path}'")
    require_inside(term.__module__)  # the path may name something imported from another package
    return term


def _require_term(term: Any, where: str) -> type[LossTerm]:
    if not (inspect.isclass(term) and issubclass(term, LossTerm)) or inspect.isabstract(term):
        raise LossError(
            f"loss term {where} is {term!r}, expected a class that derives from "
            "neoseg.losses.LossTerm and defines its methods"
        )
    heads = getattr(term, "heads", None)
    if not isinstance(heads, frozenset) or not heads:
        raise LossError(
            f"loss term {where}: {term.__name__}.heads is {heads!r}, expected a frozenset such as "
            'frozenset({"multilabel"})'
        )
    return term


def _location(term: type[LossTerm]) -> str:
    return f"{term.__module__}:{term.__qualname__}"


def _top_package(module: str) -> str:
    return module.partition(".")[0]


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else _top_package(entry.module)
