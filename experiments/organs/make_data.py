"""Write synthetic CT data sets of which each was annotated for one organ: `make_data.py FOLDER`.

Three are laid out and named as the Medical Segmentation Decathlon's are, for training; in the
fourth, in nnU-Net's layout, everything is drawn, so that it tells what was learnt. The fifth has a
mask for each structure that somebody drew, others in each scan.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SHAPE = (44, 36, 32)
VOXEL_MM = 8.0
NAMES = ("BG", "spleen", "liver_tissue", "liver_tumour", "pancreas_tissue", "pancreas_tumour")
SEEDS = {"liver": 3, "pancreas": 7, "spleen": 9, "all": 500, "masks": 11}
ORGANS = {  # centre and half axes in mm, brightness in Hounsfield units
    "liver_tissue": ((70, 5, 20), (60, 55, 50), 105),
    "spleen": ((-90, -25, 30), (28, 36, 38), 120),
    "pancreas_tissue": ((-20, 10, -25), (55, 18, 18), 85),
}
TUMOURS = {  # organ, largest half axis in mm, brightness
    "liver_tumour": ("liver_tissue", 32, 30),
    "pancreas_tumour": ("pancreas_tissue", 20, 30),
}


def scan(rng: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a body in Hounsfield units, and the index of the structure of each voxel."""
    axes = [(np.arange(n) - n / 2) * VOXEL_MM for n in SHAPE]
    space = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - rng.normal(0, 6, 3)
    space /= rng.uniform(0.88, 1.12, 3)

    def inside(centre: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (((space - centre) / half) ** 2).sum(axis=-1) < 1
        return found

    image, labels = np.full(SHAPE, -1000.0), np.zeros(SHAPE, np.uint8)
    for half, value in (((160, 120), -100), ((145, 105), 50), ((130, 90), -80)):  # fat, muscle, fat
        image[((space[..., :2] / half) ** 2).sum(axis=-1) < 1] = value
    image[inside(np.array([0, -70, 0]), np.array([22, 20, 500]))] = 400  # spine
    for _ in range(15):  # bowel, some of it with gas
        centre = rng.uniform((-90, 10, -130), (90, 70, -40))
        image[inside(centre, rng.uniform(10, 25, 3))] = rng.choice([30, 30, -800])
    for name, (centre, half, value) in ORGANS.items():
        where = inside(centre + rng.normal(0, 6, 3), half * rng.uniform(0.85, 1.15, 3))
        labels[where], image[where] = NAMES.index(name), value + rng.normal(0, 5)
    for name, (organ, largest, value) in TUMOURS.items():
        places = np.argwhere(labels == NAMES.index(organ))
        centre = space[tuple(rng.choice(places))]
        where = inside(centre, largest * rng.uniform(0.6, 1, 3)) & (labels == NAMES.index(organ))
        if rng.random() < 0.8:
            labels[where], image[where] = NAMES.index(name), value + rng.normal(0, 5)
    image = gaussian_filter(image, 0.5) + rng.normal(0, 12, SHAPE)
    return image.round().astype(np.int16), labels


def data_set(folder: Path, scans: int, integers: dict[str, int], about: dict[str, object]) -> None:
    """Write scans, label files with the `integers` of some structures, and `dataset.json`."""
    case = folder.name.split("_")[1].lower()
    for number in range(scans):
        image, labels = scan(np.random.default_rng([SEEDS[case], number]))
        drawn = np.zeros_like(labels)
        for name, integer in integers.items():
            drawn[labels == NAMES.index(name)] = integer
        channel = "_0000" if "channel_names" in about else ""
        for part, end, volume in (("imagesTr", channel, image), ("labelsTr", "", drawn)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1])
            path = folder / part / f"{case}_{number:02d}{end}.nii.gz"
            nib.save(nib.Nifti1Image(volume, affine), path)
    text = json.dumps({**about, "numTraining": scans, "file_ending": ".nii.gz"}, indent=1)
    (folder / "dataset.json").write_text(text + "\n", encoding="utf-8")


def masks(folder: Path, scans: int) -> None:
    """Write scans with one mask a structure; who drew the liver drew tumours in every other one."""
    for number in range(scans):
        image, labels = scan(np.random.default_rng([SEEDS["masks"], number]))
        shown = {
            "spleen": ["spleen"] * (number % 4 > 0),
            "liver": ["liver_tissue", "liver_tumour"],
            "liver_tumor": ["liver_tumour"] * (number % 2),
            "pancreas": ["pancreas_tissue", "pancreas_tumour"] * (number % 3 > 0),
        }
        place = folder / f"s{number:04d}"
        (place / "segmentations").mkdir(parents=True, exist_ok=True)
        affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1])
        nib.save(nib.Nifti1Image(image, affine), place / "ct.nii.gz")
        for name, parts in shown.items():
            if parts:
                drawn = np.isin(labels, [NAMES.index(part) for part in parts]).astype(np.uint8)
                nib.save(nib.Nifti1Image(drawn, affine), place / f"segmentations/{name}.nii.gz")


def main(folder: Path, scans: int = 12) -> None:
    """Write the five data sets into `folder`."""

    def decathlon(*names: str) -> dict[str, object]:
        labels = {str(integer): name for integer, name in enumerate(("background", *names))}
        return {"modality": {"0": "CT"}, "labels": labels}

    liver = {"liver_tissue": 1, "liver_tumour": 2}
    data_set(folder / "Task03_Liver", scans, liver, decathlon("liver", "cancer"))
    pancreas = {"pancreas_tissue": 1, "pancreas_tumour": 2}
    data_set(folder / "Task07_Pancreas", scans, pancreas, decathlon("pancreas", "cancer"))
    data_set(folder / "Task09_Spleen", scans, {"spleen": 1}, decathlon("spleen"))
    every = {name: integer for integer, name in enumerate(NAMES)}
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **dict([*every.items()][1:])},
    }
    data_set(folder / "Dataset500_All", max(scans // 2, 1), every, about)
    masks(folder / "Masks", max(scans // 2, 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
