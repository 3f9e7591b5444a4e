"""Default colours can be told from each other, and from what is drawn without a structure."""

from __future__ import annotations

import re
from itertools import combinations, product

from neoseg.inference.overlay import WRONG
from neoseg.inference.planes import UNKNOWN_COLOUR
from neoseg.labels.colours import colour_of


def lab(colour: str) -> tuple[float, float, float]:
    """CIELAB (D65), written apart from the code that is tested."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0890
    f, h, k = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * h - 16, 500 * (f - h), 200 * (h - k)


def nearest(number: int) -> float:
    """The smallest distance (CIE 1976) of two of the first colours; 2.3 is just noticeable."""
    ours = [lab(colour_of(index)) for index in range(1, number + 1)]
    others = map(lab, ("#000000", UNKNOWN_COLOUR, "#ffffff", WRONG))  # white: classes
    pairs = [*combinations(ours, 2), *product(ours, others)]
    return min(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) ** 0.5 for pair in pairs)


def test_the_colours_of_a_usual_table_differ_clearly() -> None:
    assert nearest(20) > 35
    assert nearest(40) > 25


def test_every_index_of_a_largest_table_has_a_colour_of_its_own() -> None:
    colours = [colour_of(index) for index in range(254)]
    assert len({*colours}) == len(colours)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in [*colours, colour_of(65535)])
