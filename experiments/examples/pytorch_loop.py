"""Partial labels in a plain PyTorch loop: `python experiments/examples/pytorch_loop.py FOLDER`.

Synthetic newborns are generated into FOLDER. Of one the tissues are known; of the others only that
a voxel lies in the cerebrum (TCV). Nothing in the loop but the name of a protocol tells them apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

import neoseg
from neoseg.cohort import read_phantom
from neoseg.store import read_volume

SIZE = 24
"""Voxels of a patch along each axis."""


def read(scan: neoseg.Scan) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image float32 `[1, X, Y, Z]` and labels `[X, Y, Z]`, the integers of the file."""
    assert scan.images[0] is not None
    assert scan.label is not None
    image = torch.from_numpy(read_volume(scan.images[0]).data)
    labels = torch.from_numpy(read_volume(scan.label, int).data.astype("int64"))
    return ((image - image.mean()) / image.std())[None], labels


def patch(generator: torch.Generator, *volumes: torch.Tensor) -> list[torch.Tensor]:
    """Cut the same cube out of volumes `[..., X, Y, Z]`, near their middle."""
    cut = []
    for length in volumes[0].shape[-3:]:
        low, high = (length - SIZE) // 4, 3 * (length - SIZE) // 4 + 1
        start = int(torch.randint(low, high, (), generator=generator))
        cut.append(slice(start, start + SIZE))
    return [volume[(..., *cut)] for volume in volumes]


def main(folder: Path, steps: int) -> list[float]:
    """Train a small network; return the loss of each step."""
    space = neoseg.label_space("drawem9")
    cohort = read_phantom(folder, space, phantom={"subjects": 3, "spacing": 4.0}, workers=1)
    targets = neoseg.Targets(space, [{"name": "cerebrum", "merge": ["TCV"]}])
    protocols = ["full"] + ["cerebrum"] * (len(cohort.scans) - 1)
    scans = [read(scan) for scan in cohort.scans]

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 16, 3, padding=1),
        nn.InstanceNorm3d(16),
        nn.ReLU(),
        nn.Conv3d(16, space.num_classes, 3, padding=1),  # a sigmoid for each class, TCV among them
    )
    loss = neoseg.Objective({"iuc": {}, "noisy_or": {}}, targets.codebook, "multilabel")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for step in range(steps):
        cubes = [patch(generator, *scan) for scan in scans]
        image = torch.stack([image for image, _ in cubes])
        codes = targets.encode(torch.stack([labels for _, labels in cubes]), protocols)
        value = loss(network(image), codes)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        print(f"step {step}: {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    main(options.folder, options.steps)
