"""Private parts of other libraries that neoseg uses, each with the reason.

Each has a test, which fails when a library drops it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Action, Namespace

    from lightning.pytorch import Trainer
    from torch import Tensor


def changes_of(tensor: Tensor) -> int:
    """Return how often a tensor was modified in place.

    Autograd keeps this version counter to detect changes to saved tensors. No public API reports
    whether a layer's output has been modified. Since torch 0.4.
    """
    return tensor._version


def empty_shared(size: int) -> Tensor:
    """Return an uninitialised uint8 tensor `[size]` in shared memory.

    `Tensor.share_memory_` allocates elsewhere and copies, which costs a loader process a fifth to
    a half of the time that packing a batch takes. `torch.utils.data.default_collate` calls the same
    method since torch 1.12.
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
"""W&B settings that keep the command, host, folder, commit and output from being sent.

Those that begin with x_ are private; no public setting hides the command line of a run.
"""

UNUSED_BY_TORCHMETRICS = ("matplotlib", "transformers")


def import_torchmetrics() -> None:
    """Import TorchMetrics, as Lightning does, without the optional dependencies neoseg ignores.

    With `transformers`, needed for text metrics only, Lightning takes twice as long to import.
    `UNUSED_BY_TORCHMETRICS` look uninstalled to TorchMetrics alone. Import `torchmetrics` before
    `neoseg` to use its text metrics. Since lightning-utilities 0.8.
    """
    if "torchmetrics" in sys.modules:
        return
    from lightning_utilities.core.imports import RequirementCache

    original = RequirementCache._check_available

    def check(self: Any) -> None:
        if str(self.requirement).split(">")[0] in UNUSED_BY_TORCHMETRICS:
            self.available, self.message = False, f"{self.requirement} is not used by neoseg"
        else:
            original(self)

    RequirementCache._check_available = check  # type: ignore[method-assign]
    try:
        import torchmetrics  # noqa: F401
    finally:
        RequirementCache._check_available = original  # type: ignore[method-assign]


def share_config_store() -> None:
    """Make deep copies of Hydra's `ConfigStore` return the store itself.

    Hydra 1.3 copies the whole store at each lookup of a group, some 140 times for `--help`, which
    is most of its run time. Each configuration is copied again when it is used, so sharing is safe.
    """
    from hydra.core.config_store import ConfigStore

    def return_self(store: ConfigStore, memo: dict[int, object]) -> ConfigStore:
        return store

    ConfigStore.__deepcopy__ = return_self  # type: ignore[attr-defined]


def hydra_arguments(arguments: Sequence[str]) -> Namespace | None:
    """Return a command line as Hydra parses it, or None if Hydra would exit with its usage.

    Only the parser can tell options from other words; `hydra.main` builds it in the same way.
    """
    from hydra._internal.utils import get_args_parser

    try:
        return get_args_parser().parse_args(list(arguments))
    except SystemExit:
        return None


def mappings_of(override: str) -> list[list[str]]:
    """Return the keys of each mapping in the value of an override, as written.

    Hydra's parsed value has each key once, so duplicates show only here. Same grammar since
    Hydra 1.1.
    """
    from antlr4 import CommonTokenStream, InputStream  # a dependency of Hydra
    from hydra.grammar.gen.OverrideLexer import OverrideLexer
    from hydra.grammar.gen.OverrideParser import OverrideParser

    lexer = OverrideLexer(InputStream(override))
    parser = OverrideParser(CommonTokenStream(lexer))
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
    mappings, nodes = list[list[str]](), [parser.override()]  # type: ignore[no-untyped-call]
    while nodes:
        node = nodes.pop()
        nodes += [node.getChild(index) for index in range(node.getChildCount())]
        if isinstance(node, OverrideParser.DictContainerContext):
            mappings.append([pair.dictKey().getText() for pair in node.dictKeyValuePair()])
    return mappings


@cache
def hydra_options() -> dict[str, Callable[[str], bool]]:
    """Map each Hydra option, short and long, to a test whether the next word is its argument."""
    from hydra._internal.utils import get_args_parser

    def takes_word(action: Action) -> Callable[[str], bool]:
        if action.nargs == "?":
            return lambda word: word in (action.choices or ())
        return lambda word: action.nargs is None

    actions = get_args_parser()._actions
    return {flag: takes_word(action) for action in actions for flag in action.option_strings}


def guard_hydra(handle: Callable[[Exception], None]) -> None:
    """Pass each error that Hydra would print with its traceback to `handle` first.

    Hydra creates folders, log files and copies of the configuration before a job begins, so the
    job's own code cannot catch errors such as a full disk. `handle` may end the process. Since
    Hydra 1.0.
    """
    from hydra._internal import utils

    report = getattr(utils.run_and_report, "__wrapped__", utils.run_and_report)

    @wraps(report)
    def guarded(function: Callable[[], Any]) -> Any:
        def call_handled() -> Any:
            try:
                return function()
            except Exception as error:
                handle(error)
                raise

        return report(call_handled)

    utils.run_and_report = guarded  # type: ignore[assignment]


@cache
def parse_yaml_in_c() -> None:
    """Let OmegaConf parse YAML in C where it can: a command composes some 100 files.

    What values mean stays up to its own loader. Since OmegaConf 2.0.
    """
    import yaml
    from omegaconf import _utils

    if not yaml.__with_libyaml__:
        return
    own: Any = _utils.get_yaml_loader()
    c_parser: Any = yaml.CSafeLoader.__bases__[0]

    class Loader(c_parser, own):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            c_parser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    _utils.get_yaml_loader = lambda: Loader


def starts_processes(trainer: Trainer) -> bool:
    """Return whether a Lightning trainer launches the other processes of a training itself.

    It does so by running the command again; no public API reports this. Since Lightning 2.0.
    """
    from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

    launcher = trainer.strategy.launcher
    return (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
    )


def workspace_model(workspace: Any) -> Any:
    """Return what would be sent to W&B for a workspace; the public API sends it, with a login."""
    return workspace._to_model()


def sbatch_file(folder: str, jobs: int | None, parameters: dict[str, Any]) -> str:
    """Return the file that submitit writes for sbatch; its executors need srun. Since 1.5."""
    from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

    named = {key.removeprefix("slurm_"): value for key, value in parameters.items()}
    named = SlurmExecutor._convert_parameters(object.__new__(SlurmExecutor), named)
    return str(_make_sbatch_string("", folder, map_count=jobs, **named))
