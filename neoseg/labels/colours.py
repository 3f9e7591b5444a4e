"""Default colours of structures."""

from colorsys import hsv_to_rgb
from functools import cache

import numpy as np

_HUES, _SATURATIONS, _VALUES = 36, (0.5, 0.75, 1.0), (0.6, 0.8, 1.0)
_TAKEN = ((0.0, 0.0, 0.0), (0.62, 0.62, 0.62), (1.0, 1.0, 1.0), (1.0, 0.84, 0.04))
"""Of the background, of what is unknown, of white classes and of disagreement."""


def colour_of(index: int) -> str:
    """Return the default colour of a structure, `#rrggbb`; index 0 is black.

    The first indices, which most tables use, differ most.
    """
    colours = _colours()
    return colours[(index - 1) % len(colours)] if index else "#000000"


@cache
def _colours() -> tuple[str, ...]:
    """Return colours, each of those left the furthest in CIELAB from the nearest one before."""
    shades = [(h / _HUES, s, v) for h in range(_HUES) for s in _SATURATIONS for v in _VALUES]
    rgb = np.array([hsv_to_rgb(*shade) for shade in shades])
    lab = _lab(rgb)
    away = np.linalg.norm(lab[:, None] - _lab(np.array(_TAKEN)), axis=-1).min(axis=1)
    order = list[int]()
    for _ in shades:
        order.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(lab - lab[order[-1]], axis=-1))
        away[order[-1]] = -1.0
    return tuple(
        "#" + bytes(np.round(255 * rgb[number]).astype(np.uint8)).hex() for number in order
    )


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIELAB (D65) of sRGB colours `[..., 3]` from 0 to 1 (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.transpose(matrix) / (0.9505, 1.0, 1.089)
    cube = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
