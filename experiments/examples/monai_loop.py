"""Partial labels in a MONAI training: `python experiments/examples/monai_loop.py FOLDER`.

MONAI reads, crops and batches; a transform turns labels into codes by the protocol of their scan,
and the loss is a weighted sum of neoseg's terms.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    MapTransform,
    NormalizeIntensityd,
    RandSpatialCropd,
    ResizeWithPadOrCropd,
)

import neoseg
from neoseg.cohort import read_phantom

SIZE = (24, 24, 24)


class Encoded(MapTransform):
    """Replaces the integers of a label file by codes, as the protocol of the scan says."""

    def __init__(self, targets: neoseg.Targets) -> None:
        super().__init__(["label"])
        self.targets = targets

    def __call__(self, data: Any) -> dict[str, Any]:
        """Return the item with `label` as uint8 `[X, Y, Z]`."""
        labels = torch.as_tensor(data["label"])[0]
        return {**data, "label": self.targets.encode(labels, data["protocol"])}


def items(cohort: neoseg.Cohort) -> list[dict[str, Any]]:
    """Return MONAI's list of a cohort, of which the first scan alone is fully annotated."""
    return [
        {
            "image": str(scan.images[0]),
            "label": str(scan.label),
            "protocol": "full" if number == 0 else "cerebrum",
        }
        for number, scan in enumerate(cohort.scans)
    ]


def main(folder: Path, epochs: int) -> list[float]:
    """Train a small U-Net; return the loss of each epoch."""
    space = neoseg.label_space("drawem9")
    cohort = read_phantom(folder, space, phantom={"subjects": 3, "spacing": 4.0}, workers=1)
    targets = neoseg.Targets(space, [{"name": "cerebrum", "merge": ["TCV"]}])
    transforms = Compose(
        [
            LoadImaged(["image", "label"]),
            EnsureChannelFirstd(["image", "label"]),
            NormalizeIntensityd(["image"]),
            ResizeWithPadOrCropd(["image", "label"], [2 * size for size in SIZE]),
            RandSpatialCropd(["image", "label"], SIZE, random_size=False),
            Encoded(targets),
        ]
    ).set_random_state(seed=0)
    loader = DataLoader(Dataset(items(cohort), transforms), batch_size=3)
    torch.manual_seed(0)
    # A softmax over the leaves: a class has the sum of its leaves' probabilities.
    network = UNet(3, 1, space.num_leaves, channels=(8, 16), strides=(2,))
    terms = {"marginal_ce": {}, "leaf_dice": {}}
    loss = neoseg.Objective(terms, targets.codebook, "softmax")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for epoch in range(epochs):
        for batch in loader:
            logits = network(batch["image"].as_tensor())
            value = loss(logits, batch["label"])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        losses.append(value.item())
        print(f"epoch {epoch}: {losses[-1]:.4f}")
    network.eval()
    with torch.no_grad():
        logits = sliding_window_inference(batch["image"].as_tensor(), SIZE, 1, network)
        dice = neoseg.class_dice(logits[0].argmax(0), batch["label"][0], targets.codebook)
    print(f"mean Dice of what the last batch tells: {dice[1 : space.num_leaves].nanmean():.3f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    main(options.folder, options.epochs)
