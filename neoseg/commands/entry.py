"""Entry point of all commands: compose the configuration, and report errors as one message."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from neoseg.borrowed import guard_hydra, parse_yaml_in_c
from neoseg.buildable import FORCE, find_code_beside
from neoseg.configuration.arguments import in_order
from neoseg.configuration.config import CONFIG_DIR, sweeping
from neoseg.configuration.help import help_text
from neoseg.configuration.overrides import explain_arguments
from neoseg.configuration.path_values import with_quoted_paths
from neoseg.errors import NeosegError
from neoseg.findings.faults import fault_message, note_traceback, wants_traceback, without_traceback
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, ForeignError, require_no_link_out
from neoseg.imports import name_user
from neoseg.processes import in_submitit, is_first_process
from neoseg.sweeps.plugins import register_plugins
from neoseg.terminal import outlive_readers, require_folder

log = logging.getLogger(__name__)


def quieten() -> None:
    """Silence library messages that are irrelevant to users of the commands."""
    outlive_readers()
    if not isinstance(sys.unraisablehook, partial):
        sys.unraisablehook = partial(_unless_of_a_loader, sys.unraisablehook)
    logging.raiseExceptions = False  # a full disk must not print an error per log line
    os.environ[FORCE] = "1"  # libraries must not unpickle arbitrary objects either
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads and not threads.isdigit():  # such as 4,2, which OpenMP allows and numexpr does not
        first = threads.partition(",")[0].strip()
        os.environ.setdefault("NUMEXPR_NUM_THREADS", first if first.isdigit() else "1")
    lightning = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed")
    for name in (*lightning, "numexpr.utils", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        r"The number of training batches \(\d+\) is smaller than the logging interval",
        r"Found \d+ module\(s\) in eval mode at the start of training",  # the teacher, on purpose
        r"The '\w+_dataloader' does not have many workers",
        r"Experiment logs directory .* exists and is not empty",
        r"The `srun` command is available on your system but is not used",
        r"Total length of `DataLoader` across ranks is zero",
    ):
        warnings.filterwarnings("ignore", message=message)


def _unless_of_a_loader(report: Callable[[Any], Any], unraisable: Any) -> None:
    """Report an ignored exception, unless PyTorch takes apart a loader that could not be made."""
    if "_MultiProcessingDataLoaderIter" not in repr(unraisable.object):
        report(unraisable)


def command(name: str, keep_going: bool = False) -> Callable[[], None]:
    """Return the command that composes `conf/<name>.yaml` and runs `neoseg.commands.<name>.main`.

    The implementation is imported after the configuration is composed, so that help and misspelt
    keys are reported at once. A user error ends a single run with its message and exit status 2, a
    machine fault with its message and status 1. The traceback of a fault is in the log file, or on
    the screen with HYDRA_FULL_ERROR=1.

    Args:
        name: name of the configuration.
        keep_going: in a sweep, log the error of a failed job and continue with the next. The job
            returns NaN; on a cluster it ends its own process with status 1.
    """

    def work(config: DictConfig) -> object:
        return _work(config, name, keep_going)

    work.__module__ = f"neoseg.{name}"  # Hydra names the log file after it
    launch = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)
    main = launch(work)

    def start() -> None:
        try:
            require_folder()
            _start(name, main)
        except KeyboardInterrupt:
            log.error("interrupted: what is done is kept; start the same command again")
            sys.exit(128 + signal.SIGINT)

    return start


def _start(name: str, main: Callable[[], None]) -> None:
    """Check the arguments of a command, and answer a call for help or give them to Hydra."""
    name_user()
    quieten()
    guard_hydra(_exit_with_message)
    parse_yaml_in_c()
    register_plugins()
    help_message, problem = None, None
    try:
        arguments = in_order(name, sys.argv[1:])
        _check_folders(name, arguments)
        sys.argv[1:] = with_quoted_paths(arguments)
        help_message = help_text(name, sys.argv[1:])
        if help_message is None:
            problem = explain_arguments(name, sys.argv[1:])
    except ConfigError as error:
        problem = str(error)
    if problem is not None:
        sys.stderr.write(f"{problem}\n")
        sys.exit(2)
    if help_message is not None:
        print(help_message)
        return
    main()


def _work(config: DictConfig, name: str, keep_going: bool) -> object:
    """Run a command with its configuration; see `command` for what becomes of errors."""
    quieten()
    find_code_beside(HydraConfig.get())
    if name == "train" and is_first_process():  # importing libraries can take long
        log.info("run folder: %s", HydraConfig.get().runtime.output_dir)
        log.info("loading PyTorch and Lightning; on a busy machine that takes a minute")
    try:
        main: Callable[[DictConfig], object] = import_module(f"neoseg.commands.{name}").main
        return main(config)
    except Exception as error:
        if not (sweeping() and keep_going):
            _exit_with_message(error)  # within the job, or Hydra would print its overrides
            raise
        message = _message_of(error)
        log.error("%s", message or error, exc_info=message is None)
        if in_submitit():
            sys.exit(1)
        return float("nan")


_WRITTEN = ("resume", "run", "output", "hydra.run.dir", "hydra.sweep.dir")
"""Keys whose values may be run folders, or lie in one, into which commands write."""

_OUTPUT_FOLDERS = ("phantom", "predict", "report")
"""Commands whose output is the folder of Hydra's log file."""

_TAKING_MODELS = ("plan_annotation", "predict")
"""Commands for which a file of `neoseg export` can be a run."""


def _check_folders(command: str, arguments: Sequence[str]) -> None:
    """Raise `ConfigError` if Hydra could not or must not write into a folder of an argument.

    A link must not lead out of a run folder, and a file is no folder.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        key = key.lstrip("+")
        if key not in _WRITTEN:
            continue
        for text in filter(None, (value, *value.strip("[]").split(","))):
            try:
                folder = Path(text.strip(" '\"")).expanduser().absolute()
                if key == "output" and command in _OUTPUT_FOLDERS and folder.is_file():
                    raise ConfigError(f"{folder} is a file, expected a folder; name another place")
                is_run = key in ("resume", "run")
                if is_run and folder.is_file() and command not in _TAKING_MODELS:
                    raise ConfigError(
                        f"{folder} is a file, and neoseg.{command} needs the folder of a run; what "
                        "neoseg.export has written is for neoseg.predict model=FILE"
                    )
                if is_run and folder.is_dir():
                    require_no_link_out(folder)
                for place in (folder, *folder.parents):
                    if (place / CONFIG).is_file() and (place / "split.csv").is_file():
                        require_no_link_out(place)
            except ForeignError as error:
                raise ConfigError(str(error)) from None
            except (OSError, RuntimeError):  # a name that is too long, or an unknown user's home
                continue


def _message_of(error: Exception) -> str | None:
    """Return the message for an error, or None if a traceback is needed."""
    if isinstance(error, NeosegError):
        return without_traceback(str(error))
    cause = error.__cause__
    if str(error).startswith("Unable to configure handler") and isinstance(cause, Exception):
        error = cause  # Hydra's log file cannot be written
    message = None if wants_traceback() else fault_message(error)
    if message is not None:
        note_traceback(log, error)
    return message


def _exit_with_message(error: Exception) -> None:
    """Exit with the message of an error, if it needs no traceback."""
    message = _message_of(error)
    if message is not None:
        log.error("%s", message)
        sys.exit(2 if isinstance(error, NeosegError) else 1)
