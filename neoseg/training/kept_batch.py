"""Files of batches whose loss or gradient was not finite."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoseg.errors import printable
from neoseg.files import replacing
from neoseg.foreign import json_of
from neoseg.foreign.packed import read_arrays
from neoseg.patches.batch import Batch

MAX_BYTES = 2**34
"""Largest size of a saved batch that is read."""


@dataclass
class KeptBatch:
    """A batch whose loss or gradient was not finite, with its origin.

    Attributes:
        batch: items of this rank.
        about: seed, step, items, scans, loss.
    """

    batch: Batch
    about: dict[str, Any] = field(default_factory=dict)


def write_batch(path: Path, kept: KeptBatch) -> None:
    """Write a batch as arrays and JSON text, atomically."""
    members = {item.name: getattr(kept.batch, item.name) for item in fields(kept.batch)}
    arrays: dict[str, Any] = {
        name: value.cpu().numpy() for name, value in members.items() if isinstance(value, Tensor)
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, about=np.array(json.dumps(kept.about)), **arrays)


def read_batch(path: Path) -> KeptBatch:
    """Read a file of `write_batch`, without unpickling.

    Raises:
        ValueError: naming the file, if it is damaged or something else.
    """
    try:
        content = read_arrays(path, MAX_BYTES)
        about = json_of(str(content.pop("about")), str(path))
        about |= {key: int(about[key]) for key in ("seed", "step", "rank")}
        about["items"] = [int(item) for item in about["items"]]
        about["scans"] = [printable(str(scan)) for scan in about["scans"]]
        tensors: dict[str, Any] = {n: torch.from_numpy(v.copy()) for n, v in content.items()}
        return KeptBatch(Batch(**tensors), about)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a patch that a training has kept: {error}") from None
