"""What the commands have in common: composing the configuration and ending with one message."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from neoseg.borrowed import guard_hydra, name_user
from neoseg.buildable import FORCE, find_code_beside
from neoseg.configuration.arguments import in_order
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.help import help_text
from neoseg.configuration.overrides import explain_arguments
from neoseg.configuration.path_values import with_quoted_paths
from neoseg.errors import NeosegError
from neoseg.findings.faults import fault_message, note_traceback, wants_traceback, without_traceback
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, ForeignError, require_no_link_out
from neoseg.processes import in_submitit, is_first_process
from neoseg.sweeps.plugins import register_plugins

log = logging.getLogger(__name__)


def quieten() -> None:
    """Silence notes of libraries that tell a user of these commands nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    logging.raiseExceptions = False  # a log on a full disk says nothing, on each of its lines
    os.environ[FORCE] = "1"  # no library unpickles anything in a command either
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


def command(name: str, keep_going: bool = False) -> Callable[[], None]:
    """Return the command that composes `conf/<name>.yaml` and does `neoseg.commands.<name>.main`.

    What does the work is imported once the configuration is composed, so that help and misspelt
    keys come at once. An error for the user ends a single run with its message and exit status 2, a
    fault of the machine with one and status 1; its traceback is in the log file, or with
    HYDRA_FULL_ERROR=1 on the screen.

    Args:
        name: of the configuration.
        keep_going: in a sweep, log whatever ends a job and go on with the next; the job returns
            NaN, or ends its process where that is the job's own.
    """

    def work(config: DictConfig) -> object:
        quieten()
        find_code_beside(HydraConfig.get())
        sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
        if name == "train" and is_first_process():  # libraries can take long to come
            log.info("run folder: %s", HydraConfig.get().runtime.output_dir)
            log.info("loading PyTorch and Lightning; on a busy machine that takes a minute")
        try:
            main: Callable[[DictConfig], object] = import_module(f"neoseg.commands.{name}").main
            return main(config)
        except Exception as error:
            if not (sweeping and keep_going):
                _end_with(error)  # within the job, since Hydra would name its overrides
                raise
            message = _told(error)
            log.error("%s", message or error, exc_info=message is None)
            if in_submitit():
                sys.exit(1)
            return float("nan")

    work.__module__ = f"neoseg.{name}"  # after which Hydra names the log file
    launch = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)
    main = launch(work)

    def start() -> None:
        try:
            _start()
        except KeyboardInterrupt:
            log.error("interrupted: what is done is kept; the same command goes on from there")
            sys.exit(128 + signal.SIGINT)

    def _start() -> None:
        name_user()
        quieten()
        guard_hydra(_end_with)
        register_plugins()
        wrong = None
        try:
            arguments = in_order(name, sys.argv[1:])
            _refuse_links(arguments)
            sys.argv[1:] = with_quoted_paths(arguments)
            told = help_text(name, sys.argv[1:])
            if told is not None:
                print(told)
                return
            wrong = explain_arguments(name, sys.argv[1:])
        except ConfigError as error:
            wrong = str(error)
        if wrong is not None:
            sys.stderr.write(f"{wrong}\n")
            sys.exit(2)
        main()

    return start


WRITTEN = ("resume", "run", "output", "hydra.run.dir")
"""Keys of folders that may be those of runs, into which commands write."""


def _refuse_links(arguments: Sequence[str]) -> None:
    """Raise `ConfigError` if a link leads out of a run that an argument names.

    That is before Hydra opens its log file in the folder.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+") not in WRITTEN:
            continue
        for place in value.strip("[]'\"").split(","):
            folder = Path(place.strip(" '\"")).expanduser()
            try:
                if key in ("resume", "hydra.run.dir") or (folder / CONFIG).is_file():
                    require_no_link_out(folder)
            except ForeignError as error:
                raise ConfigError(str(error)) from None
            except OSError:  # a name that is too long
                continue


def _told(error: Exception) -> str | None:
    """Return what to tell of an error; None where only a traceback tells enough."""
    if isinstance(error, NeosegError):
        return without_traceback(str(error))
    message = None if wants_traceback() else fault_message(error)
    if message is not None:
        note_traceback(log, error)
    return message


def _end_with(error: Exception) -> None:
    """End the process with one message, where one tells enough."""
    message = _told(error)
    if message is not None:
        log.error("%s", message)
        sys.exit(2 if isinstance(error, NeosegError) else 1)
