"""Binding of `resample.c`."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from neoseg.augment.patch_map import PatchMap, Triple
from neoseg.c_code import EXACT, address, load

_SOURCE = Path(__file__).with_name("resample.c")

_Triple = ctypes.c_int64 * 3


class _Shapes(ctypes.Structure):
    """The struct `shapes` of the C file, which documents the fields."""

    _fields_ = (
        *((name, _Triple) for name in ("size", "shape", "limit", "corner")),
        *((name, ctypes.c_int64) for name in ("channels", "half", "nodes", "leaves")),
    )


def compiled() -> ctypes.CDLL | None:
    """Return the compiled library, or None without a compiler."""
    return load(_SOURCE, EXACT)


def resample_compiled(
    image: Tensor,
    codes: Tensor | None,
    corner: Sequence[int],
    limit: Triple,
    place: PatchMap,
    result: Tensor,
    labels: Tensor | None,
) -> None:
    """Fill `result` and `labels` as `resample` does; all tensors must be contiguous."""
    column, sheet = place.sheets()
    bend, before, weights = place.bend, None, None
    if bend is not None:
        before, weights = (torch.from_numpy(values) for values in place.nodes())
    shapes = _Shapes(
        _Triple(*place.size),
        _Triple(*image.shape[1:]),
        _Triple(*limit),
        _Triple(*corner),
        image.shape[0],
        image.dtype == torch.float16,
        0 if bend is None else bend.shape[1],
        place.leaves(limit),
    )
    arrays = image, codes, column, sheet, bend, before, weights, result, labels
    library = compiled()
    assert library is not None
    library.resample(ctypes.byref(shapes), *map(address, arrays))
