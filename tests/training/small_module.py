"""A module with a network of a few hundred weights, on the small heads of the data tests."""

from __future__ import annotations

from typing import Any

from small_cohort import TABLE, small_space

from neoseg.labels import Codebook, LabelSpace, Protocol
from neoseg.store import PrepareSettings
from neoseg.training.module import ModuleSpec, SegmentationModule

UNET: dict[str, Any] = {
    "name": "small",
    "divisor": 2,
    "net": {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "channels": [4, 8],
        "strides": [2],
        "norm": "BATCH",
    },
}
DEEP: dict[str, Any] = {
    "name": "deep",
    "divisor": 4,
    "net": {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": 3,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "deep_supervision": True,
        "deep_supr_num": 1,
    },
}


def small_codebook(space: LabelSpace | None = None) -> Codebook:
    space = space or small_space()
    return Codebook.build(space, Protocol.parse(space, {"name": "p", "merge": ["TCV"]}).sets)


def module_arguments(**changes: Any) -> dict[str, Any]:
    """Plain containers only."""
    arguments: dict[str, Any] = {
        "labels": TABLE,
        "label_sets": small_codebook().plain_sets,
        "modalities": ["T2w"],
        "prepare": PrepareSettings().model_dump(),
        "patch_size": [8, 8, 8],
        "network": UNET,
        "head": "multilabel",
        "decoding": "hierarchy",
        "loss": {"iuc": {"weight": 1.0}},
        "optimizer": {"name": "adam", "lr": 1e-2, "schedule": "constant"},
        "teacher": {"decay": 0.9},
        "window": {"overlap": 0.0},
    }
    return arguments | changes


def make_module(**changes: Any) -> SegmentationModule:
    return SegmentationModule(ModuleSpec.read(module_arguments(**changes)))
