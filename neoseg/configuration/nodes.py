"""Options of the configuration that no file states: losses, and what other packages declare.

Their keys and defaults are those of the signature of what they build, read from its source, so that
neither torch nor a package that nobody chose is imported.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]

CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""`conf/` of the checkout, or the copy that travels inside an installed package."""

PLUGINS = "hydra_plugins.neoseg"
"""What Hydra takes `neoseg.sweeps.plugins` for: it starts no sweeper of another package."""

REQUIRED = "???"
"""A key without a default, which Hydra asks for."""

_LOSSES = _PACKAGE / "losses"
_PLAIN_BASES = frozenset({"LossTerm", "SumTerm", "VoxelTerm", "DenseTerm", "Module"})
"""Classes that a loss or network may derive from without inheriting settings."""


@dataclass(frozen=True)
class Signature:
    """What a class or function can be given.

    Attributes:
        keywords: default of each argument that can be given by its name.
        only: those of them that can be given in no other way.
        constants: attributes of a class that are literals.
    """

    keywords: Mapping[str, Any] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    constants: Mapping[str, Any] = field(default_factory=dict)

    def without(self, *given: str) -> dict[str, Any]:
        """Return the arguments that a configuration gives; the program gives the others."""
        return {name: value for name, value in self.keywords.items() if name not in given}


def options(group: str) -> list[str]:
    """Names that a group of the configuration can be set to, in alphabetical order."""
    return sorted({*_files(group), *option_nodes(group)})


@cache
def register_nodes() -> None:
    """Make the options without a file known to Hydra; a file of the same name is preferred."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    sweeper = {"_target_": f"{PLUGINS}.SurvivingSweeper", "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="neoseg", node=sweeper, provider="neoseg")
    for name, launcher in (("neoseg_local", "LocalLauncher"), ("neoseg_slurm", "SlurmLauncher")):
        node = {"_target_": f"{PLUGINS}.{launcher}"}
        store.store(group="hydra/launcher", name=name, node=node, provider="neoseg")
    for group in _GROUPS:
        for name, node in option_nodes(group).items():
            store.store(group=group, name=name, node=node, provider="neoseg")


@cache
def option_nodes(group: str) -> dict[str, dict[str, Any]]:
    """Return the option of each name in a group that has no file; a built-in's is its own."""
    if group not in _GROUPS:
        return {}
    declared, make = _GROUPS[group]
    found = _built_in_losses() if group == "loss" else {}
    for entry in entry_points(group=declared):
        if entry.name not in found:
            found[entry.name] = (entry.value, signature_of(entry))
    files = _files(group)
    return {
        name: make(name, value.replace(":", "."), signature)
        for name, (value, signature) in found.items()
        if name not in files
    }


def _files(group: str) -> set[str]:
    return {path.stem for path in (CONFIG_DIR / group).glob("*.yaml")}


def _loss(name: str, target: str, signature: Signature) -> dict[str, Any]:
    settings = {key: value for key, value in signature.keywords.items() if key in signature.only}
    return {name: {"weight": 1.0, "ramp": signature.constants.get("ramp"), **settings}}


def _reader(name: str, target: str, signature: Signature) -> dict[str, Any]:
    return {"_target_": target, **signature.without("space", "progress", "on_error")}


def _network(name: str, target: str, signature: Signature) -> dict[str, Any]:
    return {
        "name": name,
        "divisor": signature.constants.get("divisor", 1),
        "net": {"_target_": target, **signature.without("in_channels", "out_channels")},
    }


_GROUPS: Mapping[str, tuple[str, Callable[[str, str, Signature], dict[str, Any]]]] = {
    "loss": ("neoseg.losses", _loss),
    "cohort": ("neoseg.readers", _reader),
    "network": ("neoseg.networks", _network),
}
"""Groups of the configuration: the entry points that add to them, and the option of each."""


def _built_in_losses() -> dict[str, tuple[str, Signature]]:
    """Return place and signature of the class that says which heads it accepts, by its file."""
    found = {}
    for path in sorted(_LOSSES.glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body if "heads = " in source else ():
            if isinstance(node, ast.ClassDef) and any(n == "heads" for n, _ in _assigned(node)):
                entry = EntryPoint(path.stem, f"neoseg.losses.{path.stem}:{node.name}", "")
                found[path.stem] = (entry.value, _read(node) or _import(entry))
    return found


def signature_of(entry: EntryPoint) -> Signature:
    """Return what an entry point can be given, from its source where that tells.

    It is imported only where it does not: a default that is no literal, a class that inherits, a
    name that comes from another module. Of what cannot be imported nothing is known; whoever
    builds it gets the reason.
    """
    source = _source(entry.module)
    body = ast.parse(source).body if source else []
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == entry.attr:
            return _read(node) or _import(entry)
    return _import(entry)


def _source(module: str) -> str | None:
    """Return the source of a module; the packages that it lies in are not imported."""
    name, *below = module.split(".")
    try:
        spec = find_spec(name)
        for part in below:
            if spec is None:
                return None
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, spec.submodule_search_locations)
        if spec is None or not (spec.origin or "").endswith(".py"):
            return None
        return Path(str(spec.origin)).read_text(encoding="utf-8")
    except (ImportError, ValueError, OSError):
        return None


def _read(node: ast.ClassDef | ast.FunctionDef) -> Signature | None:
    """Return what the source of a class or function tells, None where it does not tell all."""
    constants: dict[str, Any] = {}
    function: ast.stmt | None = node
    try:
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if not bases <= _PLAIN_BASES:
                return None
            wanted = ("ramp", "divisor")
            constants = {n: ast.literal_eval(v) for n, v in _assigned(node) if n in wanted}
            function = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
            if function is None:
                return None if node.decorator_list else Signature(constants=constants)
        if not isinstance(function, ast.FunctionDef) or function.decorator_list:
            return None
        args = function.args
        if args.posonlyargs:
            return None
        first = [None] * (len(args.args) - len(args.defaults))  # which have no default
        either = [*zip(args.args, [*first, *args.defaults], strict=True)]
        pairs = [
            *either[node is not function :],
            *zip(args.kwonlyargs, args.kw_defaults, strict=True),
        ]
        keywords = {a.arg: REQUIRED if d is None else ast.literal_eval(d) for a, d in pairs}
    except ValueError:  # no literal
        return None
    return Signature(_plain(keywords), frozenset(a.arg for a in args.kwonlyargs), constants)


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and values that the body of a class assigns."""
    for entry in node.body:
        if isinstance(entry, ast.Assign | ast.AnnAssign) and entry.value is not None:
            targets = entry.targets if isinstance(entry, ast.Assign) else [entry.target]
            yield from ((t.id, entry.value) for t in targets if isinstance(t, ast.Name))


def _import(entry: EntryPoint) -> Signature:
    try:
        found = entry.load()
        parameters = inspect.signature(found).parameters.values()
    except Exception:  # whatever a package may raise when it is imported
        return Signature()
    either = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return Signature(
        _plain({p.name: REQUIRED if p.default is p.empty else p.default for p in either}),
        frozenset(p.name for p in only),
        {name: getattr(found, name) for name in ("ramp", "divisor") if hasattr(found, name)},
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out defaults that a configuration cannot hold; tuples become lists."""
    listed = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    kinds = (type(None), bool, int, float, str, list, dict)
    return {key: value for key, value in listed.items() if isinstance(value, kinds)}
