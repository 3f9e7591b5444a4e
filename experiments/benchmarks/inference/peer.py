"""Segment the benchmark's scan with nnU-Net's predictor: `python peer.py FOLDER OUTPUT`.

The plans are those that nnU-Net would make for such scans: 0.5 mm, z-score, no resampling. The
sequential function is used: the other one sends all logits through a pipe to another process, which
needs more time and memory for a single scan.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from forward import make_network
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

LEAVES = 88


def make_plans(patch: list[int]) -> dict:
    resample = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "benchmark",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": [0.5, 0.5, 0.5],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": function,
        "resampling_fn_data_kwargs": {**resample, "order": 3},
        "resampling_fn_seg": function,
        "resampling_fn_seg_kwargs": {**resample, "is_seg": True},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": resample,
        "architecture": {
            "network_class_name": "monai.networks.nets.DynUNet",
            "arch_kwargs": {},
            "_kw_requires_import": [],
        },
    }
    return {
        "dataset_name": "Dataset001_benchmark",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"3d_fullres": configuration},
    }


def main() -> None:
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    network, patch = make_network(folder)
    plans = PlansManager(make_plans(patch))
    labels = {"background": 0, **{f"leaf{n}": n for n in range(1, LEAVES)}}
    dataset = {"channel_names": {"0": "T2w"}, "labels": labels, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration("3d_fullres"),
        [network.state_dict()],
        dataset,
        "nnUNetTrainer",
        None,
    )
    scan = next((folder / "scan").glob("*.nii.gz"))
    predictor.predict_from_files_sequential([[str(scan)]], [str(output / "segmentation")])


if __name__ == "__main__":
    main()
