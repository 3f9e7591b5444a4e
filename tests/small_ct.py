"""Small CT abdomens in Hounsfield units: fat, muscle, a spine, a liver and a spleen."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (32, 28, 20)
SPACING = (12.0, 12.0, 15.0)
LIVER, SPLEEN = 1, 2
TABLE = """name: abdomen
background: 0
leaves:
  - {index: 0, name: Background, abbreviation: BG, color: "#000000"}
  - {index: 1, name: Liver, abbreviation: Liver, color: "#aa3333"}
  - {index: 2, name: Spleen, abbreviation: Spleen, color: "#33aa33"}
classes: []
"""


def abdomen(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Return an image float32 and labels uint8 of one person."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1.3, 1.3, n) for n in shape], indexing="ij")

    def within(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip((x, y, z), centre, radii, strict=True)
        return sum(((axis - c) / r) ** 2 for axis, c, r in parts) < 1

    wide, deep = rng.uniform(0.9, 1.1, 2)
    image, labels = np.full(shape, -1000.0), np.zeros(shape, np.uint8)
    image[(x / wide) ** 2 + (y / (0.8 * deep)) ** 2 < 1] = -100
    image[(x / (0.9 * wide)) ** 2 + (y / (0.7 * deep)) ** 2 < 1] = 40
    image[within((0, -0.55, 0), (0.15, 0.12, 3))] = 700
    right, left, up = rng.uniform(-0.12, 0.12, 3)
    organs = {
        LIVER: (110, (0.4 + right, 0.1 + left, 0.1 + up), tuple(rng.uniform(0.3, 0.45, 3))),
        SPLEEN: (130, (-0.5 + left, -0.1 + up, right), tuple(rng.uniform(0.18, 0.28, 3))),
    }
    for label, (value, centre, radii) in organs.items():
        where = within(centre, radii)
        image[where], labels[where] = value, label
    image += rng.normal(0, 15, shape)
    return image.round().astype(np.float32), labels


def filled(image: np.ndarray) -> np.ndarray:
    """Return an image as of a scanner that fills in -3024 around its circular field of view."""
    across, along = (
        np.indices(image.shape[:2]) - (np.array(image.shape[:2]) / 2 - 0.5)[:, None, None]
    )
    result = image.copy()
    result[across**2 + along**2 > (image.shape[1] / 2 + 1) ** 2] = -3024
    return result


def with_metal(image: np.ndarray) -> np.ndarray:
    """Return an image with a piece of metal in front of the body's centre."""
    result = image.copy()
    result[14:17, 18:20, 8:11] = 3071
    return result


def save_ct(path: Path, array: np.ndarray, spacing: tuple[float, ...] = SPACING) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


def write_abdomens(
    root: Path,
    count: int,
    spacing: tuple[float, ...] = SPACING,
    offset: float = 0.0,
    start: int = 0,
    modality: str = "CT",
) -> Path:
    """Write people in nnU-Net's layout, with `offset` added to Hounsfield units."""
    for number in range(start, start + count):
        image, labels = abdomen(number)
        name = f"abd{number:03d}"
        save_ct(root / "imagesTr" / f"{name}_0000.nii.gz", image + np.float32(offset), spacing)
        save_ct(root / "labelsTr" / f"{name}.nii.gz", labels, spacing)
    described = {
        "channel_names": {"0": modality},
        "labels": {"background": 0, "Liver": LIVER, "Spleen": SPLEEN},
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(described))
    return root
