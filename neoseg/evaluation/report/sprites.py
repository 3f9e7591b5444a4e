"""Encode the slices of a view as strips of small pictures, embedded in the page as data URIs."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from neoseg.evaluation.view import View
from neoseg.inference.overlay import WRONG
from neoseg.inference.planes import PLANES, cut


def positions(view: View, count: int) -> list[list[int]]:
    """Return at most `count` evenly spaced slices along each axis, within the labelled extent."""
    return [
        np.linspace(low, end - 1, min(count, end - low)).round().astype(int).tolist()
        for low, end in view.labelled
    ]


def planes_of(view: View, places: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return the geometry of each plane for the viewer: slices, size in pixels and in mm."""
    planes = []
    for axis, (name, (left, right)) in enumerate(PLANES):
        across, up = (a for a in range(3) if a != axis)
        planes.append(
            {
                "name": name,
                "left": left,
                "right": right,
                "slices": len(places[axis]),
                "width": view.image.shape[across],
                "height": view.image.shape[up],
                "mm": [
                    round(view.image.shape[across] * view.spacing[across], 2),
                    round(view.image.shape[up] * view.spacing[up], 2),
                ],
            }
        )
    return planes


def grey_strips(view: View, places: Sequence[Sequence[int]]) -> list[str]:
    """Return the image as one PNG per plane with its slices stacked vertically, as data URIs."""
    return [_uri(Image.fromarray(_strip(view.image, axis, places[axis]))) for axis in range(3)]


def label_strips(view: View, layer: str, places: Sequence[Sequence[int]]) -> list[str]:
    """Return a layer ("truth", "prediction", "wrong") as `grey_strips`, with 0 transparent."""
    colours = ["#000000", WRONG] if layer == "wrong" else list(view.colours)
    palette = [round(255 * part) for colour in colours for part in to_rgb(colour)]
    strips = []
    for axis in range(3):
        picture = Image.fromarray(_strip(getattr(view, layer), axis, places[axis]))
        picture.putpalette(palette)
        strips.append(_uri(picture, transparency=0))
    return strips


def used_colours(views: Mapping[str, View]) -> list[list[str]]:
    """Return [name, colour] of every structure in any view, in the order of the label table."""
    first = next(iter(views.values()))
    used: set[int] = set()
    for view in views.values():
        used |= set(np.unique(view.truth).tolist()) | set(np.unique(view.prediction).tolist())
    return [[first.names[n], first.colours[n]] for n in sorted(used - {0})]


def data_uri(content: bytes) -> str:
    """Return PNG bytes as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def _strip(volume: np.ndarray, axis: int, places: Sequence[int]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([cut(volume, axis, place) for place in places]))


def _uri(picture: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True, **options)
    return data_uri(buffer.getvalue())
