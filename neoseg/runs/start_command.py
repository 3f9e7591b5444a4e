"""The command that a run was started with, which a resumed run keeps."""

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from neoseg.buildable import config_dirs
from neoseg.files import write_text
from neoseg.foreign import ForeignError, read_json, value_at
from neoseg.foreign.files import read_text
from neoseg.runs.folder import RECORD

COMMAND = "command.txt"
"""In a run folder: the command that starts the run again, alone."""

_TRAIN = "neoseg.train"


def write_command(folder: Path) -> None:
    """Write the command of this process, without the sweep or the cluster that started it."""
    arguments = sys.argv[1:]
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        arguments = [*hydra.overrides.task]
        for place in config_dirs(hydra):
            arguments = ["--config-dir", place, *arguments]
    write_text(folder / COMMAND, shlex.join([sys.executable, "-m", _TRAIN, *arguments]) + "\n")


def command_of(folder: Path) -> str | None:
    """Return the command that a run was started with; None if it is not known."""
    try:
        if (folder / COMMAND).is_file():
            return read_text(folder / COMMAND, within=folder).strip()
        recorded = value_at(read_json(folder / RECORD, within=folder), "command")
    except (OSError, ForeignError):
        return None
    # Records of earlier versions have the command that resumed the run.
    return recorded if isinstance(recorded, str) and " resume=" not in recorded else None


def arguments_of(folder: Path) -> list[str] | None:
    """Return the arguments of the command that a run was started with; None if not known."""
    try:
        words = shlex.split(command_of(folder) or "")
        return words[words.index(_TRAIN) + 1 :]
    except ValueError:
        return None
