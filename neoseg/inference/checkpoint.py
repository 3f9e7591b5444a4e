"""The checkpoints of a run: where they lie, and reading them as data only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from neoseg.buildable import data_only
from neoseg.errors import NeosegError
from neoseg.foreign import ForeignError
from neoseg.foreign.packed import opened_checkpoint

CHECKPOINTS = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"
NEEDED = frozenset({"hyper_parameters", "state_dict"})


class CheckpointError(NeosegError):
    """A checkpoint that is damaged, or that holds more than data."""


def read_checkpoint(
    path: Path, also: frozenset[str] = frozenset(), within: Path | None = None
) -> dict[str, Any]:
    """Return the content of a checkpoint on the CPU; nothing in the file is executed.

    Args:
        path: of a checkpoint, of this project or of a stranger.
        also: keys that must be there beside hyper-parameters and weights.
        within: the run to which it belongs, which no link may leave.

    Raises:
        CheckpointError: a file that cannot be read, or that is no checkpoint of a run.
    """
    try:
        with data_only(), opened_checkpoint(path, within) as stream:
            content: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
    except ForeignError as error:
        raise CheckpointError(f"{error}; nothing in it was used") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain data and was not loaded: {error}"
        ) from None
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(f"{path} cannot be loaded, it may be damaged: {error}") from None
    missing = NEEDED | also
    if isinstance(content, dict):
        missing -= {key for key, value in content.items() if value is not None}
    if missing:
        raise CheckpointError(
            f"{path} lacks {', '.join(sorted(missing))}; it is not a checkpoint of a run"
        )
    if not all(isinstance(content[key], dict) for key in NEEDED):
        raise CheckpointError(f"{path} is not a checkpoint of a run: its parts are no mappings")
    return content


def predicting_checkpoint(run: Path) -> Path:
    """Return the checkpoint with which a run predicts, which need not be there yet.

    What `neoseg export` has written is its own.
    """
    if run.is_file():
        return run
    best = run / CHECKPOINTS / BEST
    return best if best.is_file() else run / CHECKPOINTS / LAST
