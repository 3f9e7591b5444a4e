"""Checkpoints of a run: their location, and reading them as data only."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from neoseg.buildable import data_only
from neoseg.errors import NeosegError
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError
from neoseg.foreign.packed import opened_checkpoint

CHECKPOINTS = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"
NEEDED = frozenset({"hyper_parameters", "state_dict"})

_NUMPY_SCALARS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{n}.multiarray.scalar") for n in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in "?bhilqBHILQefd"),
    np.dtype,
]
"""Types of NumPy scalars: all that torch may unpickle besides tensors and plain data."""


class CheckpointError(NeosegError):
    """A checkpoint is damaged, or holds more than data."""


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn what goes wrong when a network of the file `path` is loaded into a `ConfigError`."""
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from None


def read_checkpoint(
    path: Path, also: frozenset[str] = frozenset(), within: Path | None = None
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in the file is executed.

    Args:
        path: of the checkpoint, which need not be trusted.
        also: keys that are required besides hyper-parameters and weights.
        within: the run folder to which it belongs; links that lead out of it are refused.

    Raises:
        CheckpointError: the file cannot be read, or is not a checkpoint of a run.
    """
    content: dict[str, Any] = _load(path, within)
    missing = NEEDED | also
    if isinstance(content, dict):
        missing -= {key for key, value in content.items() if value is not None}
    if missing:
        raise CheckpointError(
            f"{path} lacks {', '.join(sorted(missing))}; it is not a checkpoint of a run"
        )
    if not all(isinstance(content[key], dict) for key in NEEDED):
        raise CheckpointError(f"{path} is not a checkpoint of a run: its parts are not mappings")
    return content


def _load(path: Path, within: Path | None = None, numbers: bool = False) -> Any:
    also = safe_globals(_NUMPY_SCALARS if numbers else [])
    try:
        with data_only(), opened_checkpoint(path, within, numbers) as stream, also:
            content = torch.load(stream, map_location="cpu", weights_only=True)
            _require_stored(content)
            return content
    except ForeignError as error:
        raise CheckpointError(f"{error}; nothing in it was used") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain data and was not loaded: {error}"
        ) from None
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(f"{path} cannot be loaded, it may be damaged: {error}") from None


def _require_stored(content: Any) -> None:
    """Raise `UnpicklingError` if a tensor has more numbers than its storage."""
    waiting, visited = [content], set[int]()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Tensor):
            if node.numel() * node.element_size() > node.untyped_storage().nbytes():
                raise pickle.UnpicklingError("a tensor repeats its numbers (stride 0)")
        elif isinstance(node, dict | list | tuple) and id(node) not in visited:
            visited.add(id(node))  # containers can share content many times over
            waiting += node.values() if isinstance(node, dict) else node


WEIGHT_KEYS = ("network_weights", "state_dict", "model", "network")
"""Keys under which files of other projects store the weights of a network."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights file of another project, such as a MONAI bundle's `model.pt`.

    Prefixes that torch adds to names for distributed training or compilation are removed. Nothing
    in the file is executed.

    Returns:
        The weights by name, and the whole content of the file.

    Raises:
        CheckpointError: the file cannot be read, or holds no weights by name.
    """
    whole = content = _load(path, numbers=True)
    settings = content.get("hyper_parameters") if isinstance(content, dict) else None
    if isinstance(settings, dict) and "label_sets" in settings and "state_dict" in content:
        raise CheckpointError(f"{path} is a checkpoint of a run; name the folder of the run")
    for key in WEIGHT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no weights by name")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f"{path} holds other things than weights by name")
    weights: dict[str, Tensor] = {}
    for name, value in content.items():
        for prefix in ("module.", "_orig_mod."):
            name = name.removeprefix(prefix)
        weights[name] = value
    return weights, whole


def predicting_checkpoint(run: Path) -> Path:
    """Return the path of the checkpoint with which a run predicts; it need not exist yet.

    For a file of `neoseg export` this is the file itself.
    """
    if run.is_file():
        return run
    best = run / CHECKPOINTS / BEST
    return best if best.is_file() else run / CHECKPOINTS / LAST
