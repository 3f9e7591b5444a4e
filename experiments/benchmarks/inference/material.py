"""What the benchmark needs: a scan of the size of the dHCP's, and a run folder with a network.

python material.py FOLDER FILTERS
"""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

import lightning
import nibabel as nib
import numpy as np
import torch
import yaml

from neoseg.cohort.phantom.scan import generate_scan
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.subject import draw_subject
from neoseg.configuration.config import CONFIG_DIR
from neoseg.training.module import ModuleSpec, SegmentationModule

SHAPE = (217, 290, 290)
PATCH = [128, 128, 128]


def write_scan(path: Path) -> None:
    """Write the first phantom with this field of view, at 0.5 mm, one plane wider."""
    settings = PhantomSettings(spacing=0.5, seed=1)
    sessions = ((s, v) for s in (draw_subject(settings, n) for n in count()) for v in s.sessions)
    subject, session = next(pair for pair in sessions if not pair[1].wide_view)
    scan = generate_scan(settings, subject, session)
    image = nib.as_closest_canonical(nib.Nifti1Image(scan.t2w_restored, scan.affine))
    data = np.asarray(image.dataobj)
    missing = [(0, size - length) for size, length in zip(SHAPE, data.shape, strict=True)]
    padded = np.pad(data, missing, mode="edge").astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(padded, image.affine), path)


def make_module(filters: list[int], spacing: float = 0.5) -> SegmentationModule:
    """Return nnU-Net's plain 3D U-Net with these filters, untrained, for 88 leaves at `spacing` mm.

    The scan is not cropped to the head, so that both programs have the same windows.
    """
    levels = len(filters)
    torch.manual_seed(0)
    net = {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": 3,
        "kernel_size": [3] * levels,
        "strides": [1] + [2] * (levels - 1),
        "upsample_kernel_size": [2] * (levels - 1),
        "filters": filters,
        "norm_name": ["INSTANCE", {"affine": True}],
        "act_name": ["leakyrelu", {"negative_slope": 0.01, "inplace": True}],
        "res_block": False,
    }
    labels = yaml.safe_load((CONFIG_DIR / "labels" / "drawem87.yaml").read_text())
    everything = list(range(len(labels["leaves"])))
    spec = {
        "labels": labels,
        "label_sets": [everything, *([leaf] for leaf in everything)],
        "modalities": ["T2w"],
        "prepare": {"normalise": "zscore", "spacing": spacing, "crop_margin": None},
        "patch_size": PATCH,
        "network": {"name": "unet", "divisor": 2 ** (levels - 1), "net": net},
        "head": "softmax",
        "decoding": "hierarchy",
        "loss": {"marginal_ce": {}},
        "optimizer": yaml.safe_load((CONFIG_DIR / "optimizer" / "adamw.yaml").read_text()),
        "teacher": {},
        "window": {"overlap": 0.5},
    }
    return SegmentationModule(ModuleSpec.read(spec))


def main() -> None:
    folder, filters = Path(sys.argv[1]), json.loads(sys.argv[2])
    scan = folder / "scan" / "sub-01_T2w.nii.gz"
    if not scan.is_file():
        write_scan(scan)
    for name, spacing in (("run_resampled", 0.51), ("run", 0.5)):
        module = make_module(filters, spacing)
        path = folder / name / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "state_dict": module.state_dict(),
            "hyper_parameters": dict(module.hparams),
            "pytorch-lightning_version": lightning.__version__,
        }
        torch.save(content, path)
    torch.save(module.network.state_dict(), folder / "weights.pt")
    network = dict(module.hparams["network"]["net"])
    del network["_target_"]
    network |= {"in_channels": 1, "out_channels": module.head.channels}
    millions = sum(p.numel() for p in module.network.parameters()) / 1e6
    record = {"network": network, "patch": PATCH, "millions": millions}
    (folder / "network.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
