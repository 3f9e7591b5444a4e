"""List the 87 structures, and assign cerebral cortex and white matter to lobes and gyri."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from neoseg.cohort.phantom.shapes import Floats

CORTEX, WHITE_MATTER = 2, 3
OUTSIDE, EXTRACRANIAL = 0, 84

TISSUES = {
    1: "CSF",
    2: "Cortical grey matter",
    3: "White matter",
    4: "Background",
    5: "Ventricles",
    6: "Cerebellum",
    7: "Deep grey matter",
    8: "Brainstem",
    9: "Hippocampi and amygdala",
}


@dataclass(frozen=True)
class Structure:
    """One structure; `contrast` is a key of `contrast.MEANS`."""

    index: int
    name: str
    tissue: int
    contrast: str


class Region(NamedTuple):
    """The four labels of a cortical region, and its seeds (lateral, anterior, superior) in mm."""

    cortex: tuple[int, int]
    white_matter: tuple[int, int]
    seeds: tuple[tuple[float, float, float], ...]


# Pairs are (left, right).
REGIONS = (
    Region((5, 6), (51, 52), ((18, 27, -18), (20, 21, -23), (20, 24, -14))),
    Region((7, 8), (53, 54), ((32, 30, -14), (36, 24, -19), (28, 28, -14))),
    Region((9, 10), (55, 56), ((15, 9, -20), (16, 1, -20), (15, 5, -15))),
    Region((11, 12), (57, 58), ((41, 12, -8), (43, 3, -5), (36, 17, -8), (34, 5, -8))),
    Region((13, 14), (59, 60), ((38, 14, -19), (38, 4, -22), (33, 4, -16))),
    Region((15, 16), (61, 62), ((27, 8, -26), (27, -3, -26), (27, 2, -20))),
    Region((21, 20), (64, 63), ((28, 10, -2), (28, 0, 1), (28, -8, 3), (27, 15, -4))),
    Region(
        (23, 22),
        (66, 65),
        ((10, -52, 8), (25, -48, 5), (10, -46, 22), (28, -42, 14), (8, -46, -2), (20, -50, -4)),
    ),
    Region((25, 24), (68, 67), ((15, -9, -16), (14, -20, -10), (14, -31, -3))),
    Region((27, 26), (70, 69), ((26, -14, -23), (24, -27, -15), (26, -20, -14))),
    Region((29, 28), (72, 71), ((41, -10, -14), (40, -24, -6), (34, -14, -23), (34, -22, -10))),
    Region((31, 30), (74, 73), ((43, -8, -1), (43, -20, 5), (36, -14, -2), (36, -24, 5))),
    Region((33, 32), (76, 75), ((5, 37, 6), (5, 33, 19), (5, 21, 26), (5, 9, 28))),
    Region((35, 34), (78, 77), ((5, -5, 28), (5, -19, 27), (5, -31, 20), (6, -37, 9))),
    Region(
        (37, 36),
        (80, 79),
        (
            (20, 45, 15),
            (35, 30, 12),
            (20, 30, 38),
            (12, 42, -2),
            (38, 12, 20),
            (25, 12, 42),
            (12, 16, 45),
            (10, 50, 20),
            (22, 30, -8),
            (8, 28, -10),
            (36, 4, 32),
            (20, 18, 22),
            (28, 24, 2),
        ),
    ),
    Region(
        (39, 38),
        (82, 81),
        (
            (20, -14, 46),
            (38, -12, 32),
            (40, -20, 20),
            (22, -34, 38),
            (9, -37, 38),
            (34, -34, 22),
            (10, -14, 46),
            (24, -14, 24),
        ),
    ),
)


@cache
def structures() -> tuple[Structure, ...]:
    """Return the 87 structures, sorted by index."""
    parsed = []
    with (Path(__file__).parent / "structures.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            is_paired = row["left"] != row["right"]
            for side in ("left", "right") if is_paired else ("left",):
                index, name = int(row[side]), row["name"].replace("*", side)
                parsed.append(Structure(index, name, int(row["tissue"]), row["contrast"]))
    return tuple(sorted(parsed, key=lambda structure: structure.index))


@cache
def tissue_lookup() -> NDArray[np.uint8]:
    """Return a lookup table `[88]` from structure to tissue (0 to 9)."""
    table = np.zeros(88, np.uint8)
    for structure in structures():
        table[structure.index] = structure.tissue
    table.flags.writeable = False
    return table


@cache
def _seeds() -> tuple[cKDTree, NDArray[np.intp]]:
    owners = [number for number, region in enumerate(REGIONS) for _ in region.seeds]
    points = [seed for region in REGIONS for seed in region.seeds]
    return cKDTree(np.asarray(points, np.float64)), np.asarray(owners)


def parcel_labels(points: Sequence[Floats], is_cortex: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the structure of N cerebral voxels: that of the nearest seed in their hemisphere.

    `points` are x (right positive), y and z in reference mm; `is_cortex` `[N]` is True for cortex
    and False for white matter.
    """
    tree, owners = _seeds()
    x, y, z = points
    _, nearest = tree.query(np.stack([np.abs(x), y, z], axis=-1))
    region: NDArray[np.intp] = owners[nearest]
    table = np.asarray([(r.white_matter, r.cortex) for r in REGIONS], np.uint8)
    return table[region, is_cortex.astype(np.intp), (x >= 0).astype(np.intp)]
