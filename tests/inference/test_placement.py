"""Pieces of a prepared grid on the scan's own grid, against resampling everything at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from neoseg.inference.placement import place_pieces
from neoseg.store import Geometry

IDENTITY = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))


def geometry(prepared: tuple[int, ...], sizes: tuple[int, ...]) -> Geometry:
    start = (2, 0, 3)
    crop = tuple((s, s + n) for s, n in zip(start, sizes, strict=True))
    shape = tuple(s + n + 1 for s, n in zip(start, sizes, strict=True))
    return Geometry(shape, IDENTITY, shape, crop, prepared, IDENTITY)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thick", [1, 3, 100])
@pytest.mark.parametrize(
    ("prepared", "sizes"),
    [
        ((6, 7, 5), (6, 7, 5)),
        ((6, 7, 5), (13, 9, 11)),
        ((13, 9, 11), (6, 7, 5)),
        ((6, 7, 5), (6, 14, 5)),
        ((1, 7, 5), (4, 7, 5)),
        ((9, 9, 9), (1, 20, 3)),
    ],
)
def test_equal_to_resampling_everything(prepared, sizes, axis, thick) -> None:
    values = torch.randn(3, *prepared, generator=torch.Generator().manual_seed(0))
    where = geometry(prepared, sizes)
    pieces = []
    for start in range(0, prepared[axis], thick):
        box = [slice(0, n) for n in prepared]
        box[axis] = slice(start, min(start + thick, prepared[axis]))
        pieces.append((tuple(box), values[(slice(None), *box)]))
    result = torch.full((3, *where.canonical_shape), torch.nan)
    count = torch.zeros(where.canonical_shape)
    for region, part in place_pieces(iter(pieces), where):
        result[(slice(None), *region)] = part
        count[region] += 1
    inside = tuple(slice(low, high) for low, high in where.crop)
    expected = interpolate(values[None], sizes, mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(result[(slice(None), *inside)], expected, atol=1e-5, rtol=1e-5)
    assert (count[inside] == 1).all()
    assert count.sum() == expected[0].numel()
    assert where.resampled == (prepared != sizes)
