"""Augmented patches of 128³ by TorchIO, MONAI or nnU-Net, timed.

    python augmentation_peers.py NAME FOLDER FIRST COUNT

FOLDER holds `image.npy` (float32) and `labels.npy` (int16) of one scan; both are in memory before
the clock runs. Prints a JSON list of [seconds, seconds of the processor], one for each patch. This
file needs numpy, torch and the peer that it is asked for, nothing of neoseg.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

PATCH = 128


def torchio_patch(image: np.ndarray, labels: np.ndarray) -> Callable[[int], object]:
    """The whole volume, as TorchIO works, then a crop; every transform always."""
    import torchio as tio

    transform = tio.Compose(
        [
            tio.RandomAffine(scales=0.15, degrees=15, isotropic=True),
            tio.RandomElasticDeformation(num_control_points=9, max_displacement=5),
            tio.RandomFlip(axes=(0,), flip_probability=0.5),
            tio.RandomBiasField(coefficients=0.3),
            tio.RandomGamma(log_gamma=0.3),
            tio.RandomNoise(std=(0, 0.15)),
        ]
    )
    sampler = tio.UniformSampler(PATCH)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])

    def patch(number: int) -> object:
        torch.manual_seed(number)
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=torch.from_numpy(image)[None], affine=affine),
            labels=tio.LabelMap(tensor=torch.from_numpy(labels)[None], affine=affine),
        )
        found = next(iter(sampler(transform(subject), 1)))
        return found["image"].data, found["labels"].data

    return patch


def monai_patch(image: np.ndarray, labels: np.ndarray) -> Callable[[int], object]:
    """The whole volume, affine and elastic in one resampling, then a crop."""
    from monai import transforms as mt

    both = ["image", "labels"]
    turn = [float(np.deg2rad(15))] * 3
    transform = mt.Compose(
        [
            mt.EnsureChannelFirstd(both, channel_dim="no_channel"),
            mt.Rand3DElasticd(
                both,
                sigma_range=(5, 8),
                magnitude_range=(100, 200),
                prob=1.0,
                rotate_range=turn,
                scale_range=[0.15] * 3,
                mode=["bilinear", "nearest"],
                padding_mode="border",
            ),
            mt.RandFlipd(both, prob=0.5, spatial_axis=0),
            mt.RandBiasFieldd(["image"], degree=3, coeff_range=(0.0, 0.3), prob=1.0),
            mt.RandAdjustContrastd(["image"], prob=1.0, gamma=(0.7, 1.4)),
            mt.RandGaussianNoised(["image"], prob=1.0, std=0.15),
            mt.RandSpatialCropd(both, [PATCH] * 3, random_size=False),
        ]
    )

    def patch(number: int) -> object:
        transform.set_random_state(number)
        return transform({"image": image, "labels": labels})

    return patch


def nnunet_patch(image: np.ndarray, labels: np.ndarray) -> Callable[[int], object]:
    """Its default 3D transforms with its own probabilities, on the crop that it would load."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    turn = (-30.0 / 360 * 2.0 * np.pi, 30.0 / 360 * 2.0 * np.pi)
    loaded = get_patch_size([PATCH] * 3, turn, turn, turn, (0.85, 1.25))
    transform = nnUNetTrainer.get_training_transforms([PATCH] * 3, turn, None, (0, 1, 2), False)
    start = [(n - size) // 2 for n, size in zip(image.shape, loaded, strict=True)]
    box = tuple(slice(max(s, 0), s + size) for s, size in zip(start, loaded, strict=True))
    crop = torch.from_numpy(np.ascontiguousarray(image[box]))[None]
    known = torch.from_numpy(np.ascontiguousarray(labels[box]))[None]

    def patch(number: int) -> object:
        np.random.seed(number)
        torch.manual_seed(number)
        return transform(image=crop.clone(), segmentation=known.clone())

    return patch


MAKERS = {"torchio": torchio_patch, "monai": monai_patch, "nnunet": nnunet_patch}


def main() -> None:
    name, folder, first, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    image, labels = np.load(folder / "image.npy"), np.load(folder / "labels.npy")
    patch = MAKERS[name](image, labels)
    if name == "nnunet":
        patch(10**6)  # it compares two ways to blur on first use
    taken = []
    for number in range(first, first + count):
        wall, work = time.perf_counter(), time.process_time()
        patch(number)
        taken.append([time.perf_counter() - wall, time.process_time() - work])
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
