"""List the 87 structures, and assign cerebral cortex and white matter to lobes and gyri."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from neoseg.cohort.phantom.shapes import Floats

CORTEX, WHITE_MATTER = 2, 3
OUTSIDE, EXTRACRANIAL = 0, 84

_FOLDER = Path(__file__).parent

ANATOMY = yaml.safe_load((_FOLDER / "anatomy.yaml").read_text(encoding="utf-8"))
"""Regions of the cortex, names of the tissues, their mean intensities, and the nuclei."""

TISSUES: dict[int, str] = ANATOMY["tissues"]


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


REGIONS = [Region(**region) for region in ANATOMY["regions"]]


@cache
def structures() -> tuple[Structure, ...]:
    """Return the 87 structures, sorted by index."""
    parsed = []
    with (_FOLDER / "structures.tsv").open(encoding="utf-8", newline="") as file:
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
