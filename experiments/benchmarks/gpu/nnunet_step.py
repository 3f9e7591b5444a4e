"""Samples a second of nnU-Net's own trainer.

    python nnunet_step.py FOLDER LEAVES SIZE STEPS DEVICE

Its fingerprint, plan, preprocessing, loaders with augmentation, network, loss and training step are
its own; patch, batch and the plain U-Net of `unet3d_large` are written into its plan. Prints JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

NAME = "Dataset901_neoseg"
FILTERS = [32, 64, 128, 256, 320, 320]


def write_dataset(folder: Path, leaves: int, size: int) -> None:
    """Write six noisy scans of blocks, each block a leaf, a little larger than the patch."""
    import nibabel as nib
    import numpy as np

    rng = np.random.default_rng(0)
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(6):
        coarse = rng.integers(0, leaves, (6, 6, 6))
        coarse.flat[:leaves] = np.arange(leaves)
        label = np.kron(coarse, np.ones((size // 5,) * 3)).astype(np.uint8)
        image = (label + rng.normal(size=label.shape)).astype(np.float32)
        for kind, name, data in (
            ("imagesTr", f"case{number}_0000", image),
            ("labelsTr", f"case{number}", label),
        ):
            nib.save(nib.Nifti1Image(data, np.eye(4)), folder / kind / f"{name}.nii.gz")
    about = {
        "channel_names": {"0": "T2w"},
        "labels": {"background": 0, **{f"leaf{n}": n for n in range(1, leaves)}},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about))


def change_plan(path: Path, size: int) -> None:
    """Write patch, batch and network into nnU-Net's plan."""
    plan = json.loads(path.read_text())
    configuration = plan["configurations"]["3d_fullres"]
    configuration |= {"patch_size": [size] * 3, "batch_size": 2}
    levels = len(FILTERS)
    arguments = configuration["architecture"]["arch_kwargs"]
    arguments |= {
        "n_stages": levels,
        "features_per_stage": FILTERS if size > 64 else [4] * levels,
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1], *([[2, 2, 2]] * (levels - 1))],
        "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [2] * (levels - 1),
    }
    path.write_text(json.dumps(plan))


def main() -> None:
    """Prepare what is not there, then time the trainer's own steps."""
    folder, device = Path(sys.argv[1]).resolve(), sys.argv[5]
    leaves, size, steps = map(int, sys.argv[2:5])
    for kind in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{kind}"] = str(folder / kind)
        (folder / kind).mkdir(parents=True, exist_ok=True)
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.run.run_training import get_trainer_from_args

    plan = folder / "preprocessed" / NAME / "nnUNetPlans.json"
    if not (folder / "ready").is_file():
        write_dataset(folder / "raw" / NAME, leaves, size)
        extract_fingerprints([901], num_processes=2, verbose=False)
        plan_experiments([901])
        change_plan(plan, size)
        preprocess([901], configurations=("3d_fullres",), num_processes=(2,))
        (folder / "ready").touch()
    trainer = get_trainer_from_args("901", "3d_fullres", 0, device=torch.device(device))
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()

    def some(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            trainer.train_step(next(trainer.dataloader_train))
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    some(max(1, steps // 4))
    seconds = some(steps)
    print(json.dumps({"samples_per_second": 2 * steps / seconds}), flush=True)
    for loader in multiprocessing.active_children():
        loader.kill()  # they would go on, and keep the output open for whoever reads it
    os._exit(0)  # threads would be waited for


if __name__ == "__main__":
    main()
