"""Turning about the axes of a patch."""

from __future__ import annotations

import numpy as np


def rotation(angles: np.ndarray) -> np.ndarray:
    """Return the matrix `[3, 3]` that turns about x, then y, then z by `angles` `[3]` (radians)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
