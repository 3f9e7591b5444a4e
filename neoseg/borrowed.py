"""What other libraries have for themselves alone and neoseg uses, each with the reason.

A test for each tells when a library no longer has it.
"""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Action, Namespace
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from lightning.pytorch import Trainer
    from torch import Tensor


def changes_of(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place.

    Autograd counts that to find out whether what it kept is still what it was; nothing public tells
    whether a layer's result has been left alone. Since torch 0.4.
    """
    return tensor._version


def empty_shared(size: int) -> Tensor:
    """Return an uninitialised uint8 tensor `[size]` in shared memory.

    `Tensor.share_memory_` makes it elsewhere and copies, which costs a loader process a fifth to
    a half of the time in which a batch is packed. `torch.utils.data.default_collate` calls the same
    method, since torch 1.12.
    """
    import torch

    memory = torch.UntypedStorage._new_shared(size)
    return torch.empty(0, dtype=torch.uint8).set_(memory)


NOTHING_OF_THE_MACHINE: dict[str, Any] = {
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "disable_git": True,
    "console": "off",
    "host": "withheld",
}
"""Settings of W&B with which it sends no command, host, folder, commit or output.

Those that begin with x_ are not public, and nothing else leaves out what a run is started with.
"""

UNUSED_BY_MONAI = (
    *("huggingface_hub", "matplotlib", "pandas", "PIL", "requests", "scipy.optimize"),
    *("scipy.signal", "tensorboard", "transformers"),
)
"""What MONAI imports where it is there, for parts of it that neoseg has no use for."""


def name_user() -> None:
    """Name a user whom the machine has no name for by number: MONAI and torch ask when imported.

    So it is in containers that run with a user id of their own (`docker run -u`, OpenShift), where
    `getpass.getuser` raises KeyError, and OSError since Python 3.13.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def import_monai() -> None:
    """Import MONAI, which takes four times as long with the packages that it merely can use.

    What it would import of `UNUSED_BY_MONAI` is as good as not installed for it, as far as nothing
    else has imported that before: its readers of pictures, its plots, its downloads and its
    network of a language model then end with an `OptionalImportError`. Import `monai` before
    `neoseg` to have them. All other imports, also those of other threads, find what they always
    find. Since MONAI 1.3.
    """
    if "monai" not in sys.modules:
        name_user()
        with not_installed(UNUSED_BY_MONAI):
            import monai.networks.nets  # noqa: F401


UNUSED_BY_TORCHMETRICS = ("matplotlib", "transformers")


def import_torchmetrics() -> None:
    """Import TorchMetrics, which Lightning does, without what it can use and neoseg does not.

    With the library of language models, for scores of texts, Lightning takes twice as long. For
    TorchMetrics, and for it alone, `UNUSED_BY_TORCHMETRICS` are as good as not installed. Import
    `torchmetrics` before `neoseg` to have its scores of texts. Since lightning-utilities 0.8.
    """
    if "torchmetrics" in sys.modules:
        return
    from lightning_utilities.core.imports import RequirementCache

    plain = RequirementCache._check_available

    def check(self: Any) -> None:
        if str(self.requirement).split(">")[0] in UNUSED_BY_TORCHMETRICS:
            self.available, self.message = False, f"{self.requirement} is not used by neoseg"
        else:
            plain(self)

    RequirementCache._check_available = check  # type: ignore[method-assign]
    try:
        import torchmetrics  # noqa: F401
    finally:
        RequirementCache._check_available = plain  # type: ignore[method-assign]


@contextmanager
def not_installed(names: Sequence[str]) -> Iterator[None]:
    """Let first imports of some modules fail in this thread, as if they were not installed."""
    finder = _Refusal(frozenset(names), threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Refusal:
    """A finder that knows for certain that there is no such module."""

    def __init__(self, names: frozenset[str], thread: int) -> None:
        self.names = names
        self.thread = thread

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse the modules in the thread, leave all others to the finders that follow."""
        if name in self.names and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return None


def share_config_store() -> None:
    """Let Hydra's store of configurations be one also where Hydra copies what refers to it.

    Hydra 1.3 copies it whole at each look at a group, for `--help` some 140 times, which takes
    longer than all else of it; each configuration is copied once more when it is used.
    """
    from hydra.core.config_store import ConfigStore

    def itself(store: ConfigStore, memo: dict[int, object]) -> ConfigStore:
        return store

    ConfigStore.__deepcopy__ = itself  # type: ignore[attr-defined]


def hydra_arguments(arguments: Sequence[str]) -> Namespace | None:
    """Return what Hydra understands of a command line, None where it would end with its usage.

    Only the parser knows which words are options; `hydra.main` makes it of the same function.
    """
    from hydra._internal.utils import get_args_parser

    try:
        return get_args_parser().parse_args(list(arguments))
    except SystemExit:
        return None


def mappings_of(override: str) -> list[list[str]]:
    """Return the keys of each mapping in the value of an override, as they are written.

    What Hydra makes of them has each key once. Its grammar is the same since Hydra 1.1.
    """
    from antlr4 import CommonTokenStream, InputStream  # which Hydra brings along
    from hydra.grammar.gen.OverrideLexer import OverrideLexer
    from hydra.grammar.gen.OverrideParser import OverrideParser

    lexer = OverrideLexer(InputStream(override))
    parser = OverrideParser(CommonTokenStream(lexer))
    for reader in (lexer, parser):
        reader.removeErrorListeners()
    found, nodes = list[list[str]](), [parser.override()]  # type: ignore[no-untyped-call]
    while nodes:
        node = nodes.pop()
        nodes += [node.getChild(place) for place in range(node.getChildCount())]
        if isinstance(node, OverrideParser.DictContainerContext):
            found.append([pair.dictKey().getText() for pair in node.dictKeyValuePair()])
    return found


@cache
def hydra_options() -> dict[str, Callable[[str], bool]]:
    """Return each option of Hydra, short and long, with whether a word after it belongs to it."""
    from hydra._internal.utils import get_args_parser

    def belongs(action: Action) -> Callable[[str], bool]:
        if action.nargs == "?":
            return lambda word: word in (action.choices or ())
        return lambda word: action.nargs is None

    actions = get_args_parser()._actions
    return {flag: belongs(action) for action in actions for flag in action.option_strings}


def guard_hydra(handle: Callable[[Exception], None]) -> None:
    """Have a function see each error that Hydra would print with its traceback.

    Hydra makes folders, log files and copies of the configuration before a job begins, where no
    code of the job's sees that the disk is full. `handle` may end the process. Since Hydra 1.0.
    """
    from hydra._internal import utils

    report = getattr(utils.run_and_report, "__wrapped__", utils.run_and_report)

    @wraps(report)
    def guarded(function: Callable[[], Any]) -> Any:
        def handled() -> Any:
            try:
                return function()
            except Exception as error:
                handle(error)
                raise

        return report(handled)

    utils.run_and_report = guarded  # type: ignore[assignment]


def starts_processes(trainer: Trainer) -> bool:
    """Tell whether a trainer of Lightning starts the other processes of a training itself.

    It does so by calling the command again, which nothing public says; since Lightning 2.0.
    """
    from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

    launcher = trainer.strategy.launcher
    return (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
    )


def workspace_model(workspace: Any) -> Any:
    """Return what W&B is sent of a workspace; its public way is to send it, which needs a login."""
    return workspace._to_model()
