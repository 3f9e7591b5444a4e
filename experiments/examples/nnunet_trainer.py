"""A trainer for nnU-Net whose loss understands merged labels.

Put this file into a folder that `nnUNet_extTrainer` names and start

    nnUNetv2_train DATASET 3d_fullres FOLD -tr nnUNetTrainerLabelSets

nnU-Net wants each voxel to be one of the consecutive labels of `dataset.json`. Add one that means
"somewhere in the parent", such as `"cerebrum": 4` beside cortex 1, white matter 2 and deep grey 3,
and say in `MEANING` which labels a value stands for. The network keeps a channel for it, from which
nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

import neoseg
from neoseg.labels import LabelTable

MEANING: Mapping[int, Sequence[int]] = {4: (1, 2, 3)}
"""Label values that mean one of several others."""


def targets_of(leaves: Sequence[str], meaning: Mapping[int, Sequence[int]]) -> neoseg.Targets:
    """Return what encodes nnU-Net's targets.

    Args:
        leaves: names of the labels 0, 1, 2, ... that exclude each other, the background first.
        meaning: further label values, each with the leaves that a voxel of it may be.
    """
    rows = [
        {"index": n, "name": name, "abbreviation": name, "color": f"#{40 * n % 256:02x}8080"}
        for n, name in enumerate(leaves)
    ]
    table = {"name": "nnunet", "background": 0, "leaves": rows}
    space = neoseg.LabelSpace.from_table(LabelTable.parse(table))
    values = {n: n for n in range(len(leaves))} | {k: list(v) for k, v in meaning.items()}
    return neoseg.Targets(space, convention=neoseg.Convention.from_mapping(space, values))


class LabelSetLoss(nn.Module):
    """neoseg's objective at each resolution of deep supervision, weighted as in nnU-Net."""

    def __init__(self, targets: neoseg.Targets) -> None:
        super().__init__()
        self.targets = targets
        terms = {"marginal_ce": {}, "leaf_dice": {"batch": True}}
        self.objective = neoseg.Objective(terms, targets.codebook, "softmax")

    def forward(
        self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Return the loss.

        Args:
            output: logits `[B, N, *S]`, or one for each resolution, the highest first.
            target: integers `[B, 1, *S]`, as many.
        """
        outputs = [output] if isinstance(output, Tensor) else list(output)
        wanted = [target] if isinstance(target, Tensor) else list(target)
        total, weights = torch.zeros((), device=outputs[0].device), 0.0
        leaves = self.targets.space.num_leaves
        for level, (logits, labels) in enumerate(zip(outputs, wanted, strict=True)):
            weight = 0.0 if 0 < level == len(outputs) - 1 else 0.5**level
            codes = self.targets.encode(labels[:, 0])
            total = total + weight * self.objective(logits[:, :leaves], codes)
            weights += weight
        return total / weights


class nnUNetTrainerLabelSets(nnUNetTrainer):  # noqa: N801  (nnU-Net finds trainers by such names)
    """nnU-Net's trainer with marginal cross-entropy and leaf-Dice over label sets."""

    def _build_loss(self) -> nn.Module:
        labels: dict[str, int] = self.dataset_json["labels"]
        names = sorted((n for n, v in labels.items() if v not in MEANING), key=labels.__getitem__)
        return LabelSetLoss(targets_of(names, MEANING)).to(self.device)
