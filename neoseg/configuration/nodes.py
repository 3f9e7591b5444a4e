"""Configuration options without a file: built-in losses, and entry points of other packages.

Keys and defaults come from the signature of the class or function that an option builds. They are
parsed from its source, so that neither torch nor a package that is not selected is imported.
"""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from neoseg.own_code import source_of

_PACKAGE = Path(__file__).resolve().parents[1]

CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""`conf/` of the checkout, or the copy inside an installed package."""

PLUGINS = "hydra_plugins.neoseg"
"""Name of `neoseg.sweeps.plugins` for Hydra, which starts no sweeper outside `hydra_plugins`."""

REQUIRED = "???"
"""Marks a key without a default, which Hydra requires to be set."""

_LOSSES = _PACKAGE / "losses"
_PLAIN_BASES = frozenset({"LossTerm", "SumTerm", "VoxelTerm", "DenseTerm", "Module"})
"""Base classes that add no settings to a loss or network."""


@dataclass(frozen=True)
class Signature:
    """The configurable arguments of a class or function.

    Attributes:
        keywords: default of each argument that can be passed by name.
        only: names of those that are keyword-only.
        constants: the class attributes `ramp` and `divisor`, if it has them.
    """

    keywords: Mapping[str, Any] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    constants: Mapping[str, Any] = field(default_factory=dict)

    def without(self, *given: str) -> dict[str, Any]:
        """Return the defaults without the arguments in `given`, which the program passes itself."""
        return {name: value for name, value in self.keywords.items() if name not in given}


def options(group: str) -> list[str]:
    """Return the options of a configuration group in alphabetical order."""
    return sorted({*_files(group), *option_nodes(group)})


@cache
def register_nodes() -> None:
    """Register the options without a file in Hydra; a file of the same name takes precedence."""
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
    """Return the options of a group that have no file; a built-in wins over an entry point."""
    if group not in _GROUPS:
        return {}
    entry_group, make = _GROUPS[group]
    signatures = _built_in_losses() if group == "loss" else {}
    for entry in entry_points(group=entry_group):
        if entry.name not in signatures:
            signatures[entry.name] = (entry.value, signature_of(entry))
    files = _files(group)
    return {
        name: make(name, value.replace(":", "."), signature)
        for name, (value, signature) in signatures.items()
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
"""For each configuration group its entry point group, and the function that builds an option."""


def _built_in_losses() -> dict[str, tuple[str, Signature]]:
    """Return import path and signature of each loss (a class with `heads`) by its file name."""
    losses = {}
    for path in sorted(_LOSSES.glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body if "heads = " in source else ():
            if isinstance(node, ast.ClassDef) and any(n == "heads" for n, _ in _assignments(node)):
                entry = EntryPoint(path.stem, f"neoseg.losses.{path.stem}:{node.name}", "")
                losses[path.stem] = (
                    entry.value,
                    _parse_signature(node) or _import_signature(entry),
                )
    return losses


def signature_of(entry: EntryPoint) -> Signature:
    """Return the signature of an entry point, parsed from its source if possible.

    It is imported only if parsing does not suffice: for a default that is not a literal, a class
    with other base classes, or a name defined in another module. If the import fails, the signature
    is empty; the error is raised when the object is built.
    """
    source = source_of(entry.module)
    try:
        body = ast.parse(source.read_bytes()).body if source else []
    except (OSError, ValueError, SyntaxError):  # in an archive, say
        body = []
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == entry.attr:
            return _parse_signature(node) or _import_signature(entry)
    return _import_signature(entry)


def _parse_signature(node: ast.ClassDef | ast.FunctionDef) -> Signature | None:
    """Parse the signature of a class or function; None if it must be imported instead."""
    constants: dict[str, Any] = {}
    function: ast.stmt | None = node
    try:
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if not bases <= _PLAIN_BASES:
                return None
            wanted = ("ramp", "divisor")
            constants = {n: ast.literal_eval(v) for n, v in _assignments(node) if n in wanted}
            function = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
            if function is None:
                return None if node.decorator_list else Signature(constants=constants)
        if not isinstance(function, ast.FunctionDef) or function.decorator_list:
            return None
        args = function.args
        if args.posonlyargs:
            return None
        no_defaults = [None] * (len(args.args) - len(args.defaults))
        positional = [*zip(args.args, [*no_defaults, *args.defaults], strict=True)]
        pairs = [
            *positional[node is not function :],
            *zip(args.kwonlyargs, args.kw_defaults, strict=True),
        ]
        keywords = {a.arg: REQUIRED if d is None else ast.literal_eval(d) for a, d in pairs}
    except ValueError:  # a value is not a literal
        return None
    return Signature(_plain(keywords), frozenset(a.arg for a in args.kwonlyargs), constants)


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names and values of the assignments in a class body."""
    for entry in node.body:
        if isinstance(entry, ast.Assign | ast.AnnAssign) and entry.value is not None:
            targets = entry.targets if isinstance(entry, ast.Assign) else [entry.target]
            yield from ((t.id, entry.value) for t in targets if isinstance(t, ast.Name))


def _import_signature(entry: EntryPoint) -> Signature:
    try:
        target = entry.load()
        parameters = inspect.signature(target).parameters.values()
    except Exception:  # importing a package may raise anything
        return Signature()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return Signature(
        _plain({p.name: REQUIRED if p.default is p.empty else p.default for p in named}),
        frozenset(p.name for p in keyword_only),
        {name: getattr(target, name) for name in ("ramp", "divisor") if hasattr(target, name)},
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert tuples to lists, and leave out defaults that a configuration cannot hold."""
    converted = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    kinds = (type(None), bool, int, float, str, list, dict)
    return {key: value for key, value in converted.items() if isinstance(value, kinds)}
