"""Depth in ellipsoids and tubes (mm, positive inside), distance to blocks, and smooth blends."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Point = Sequence[float] | NDArray[np.floating[Any]]


def ellipsoid(points: Sequence[Floats], centre: Point, axes: Point) -> Floats:
    """Return the depth in an ellipsoid, exact to first order at its surface.

    `points` are two or three coordinate arrays of one shape; two give an elliptic cylinder.
    """
    radius: Any = np.float32(0.0)
    slope: Any = np.float32(0.0)
    for values, middle, axis in zip(points, centre, axes, strict=True):
        scaled = (values - np.float32(middle)) / np.float32(axis)
        radius = radius + scaled**2
        slope = slope + (scaled / np.float32(axis)) ** 2
    radius = np.sqrt(radius)
    depth: Floats = (1 - radius) * radius / np.sqrt(slope + np.float32(1e-9))
    return depth


def tube(points: Sequence[Floats], path: Sequence[Point], radii: Point) -> Floats:
    """Return the depth in a chain of round cones along `path`, with one radius per point."""
    depth: Floats | None = None
    for (start, end), (first, last) in zip(pairwise(path), pairwise(radii), strict=True):
        axis = [b - a for a, b in zip(start, end, strict=True)]
        length = sum(c * c for c in axis)
        offsets = [p - np.float32(a) for p, a in zip(points, start, strict=True)]
        along = sum(o * np.float32(c / length) for o, c in zip(offsets, axis, strict=True))
        along = np.clip(along, 0, 1)
        squared = sum((o - along * np.float32(c)) ** 2 for o, c in zip(offsets, axis, strict=True))
        segment_depth = first + along * np.float32(last - first) - np.sqrt(squared)
        depth = segment_depth if depth is None else np.maximum(depth, segment_depth)
    if depth is None:
        raise ValueError(f"a tube needs at least two points, got {len(path)}")
    return depth


def block(excesses: Sequence[Floats]) -> Floats:
    """Return the distance to a block, 0 inside; `excesses` are distances beyond its faces."""
    return np.sqrt(sum(np.maximum(excess, 0) ** 2 for excess in excesses))


def smooth_maximum(a: Floats, b: Floats, blend: float) -> Floats:
    """Unite two shapes with a fillet of about `blend` mm (polynomial blend)."""
    mix = np.clip(blend - np.abs(a - b), 0, None)
    return np.maximum(a, b) + mix**2 / np.float32(4 * blend)


def smooth_minimum(a: Floats, b: Floats, blend: float) -> Floats:
    """Intersect two shapes with an edge rounded over about `blend` mm."""
    return -smooth_maximum(-a, -b, blend)


def smooth_step(values: Floats, start: float, end: float) -> Floats:
    """Rise smoothly from 0 at `start` to 1 at `end`."""
    share: Floats = np.clip((values - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)
