"""The stand-alone script finds with an ONNX model what `predict` finds with the run."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from neoseg.inference.model import ModelSpec
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.trained import TrainedNetwork

pytest.importorskip("onnx", reason="onnx is not installed (the extra onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra onnx)")

from neoseg.handover import segment
from neoseg.handover.onnx_model import SCRIPT, write_onnx

sys.path += [str(Path(__file__).parents[1] / room) for room in ("red_team", "inference")]
from honest import TABLE, checkpoint, save
from small_segmenter import write_scan

TREE: dict[str, Any] = {
    **deepcopy(TABLE),
    "classes": [{"abbreviation": "FG", "name": "both", "leaves": [1, 2]}],
    "mirror": [[1, 2]],
}
FINE = {"accumulate": "float32"}
CASES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "another voxel size": {"prepare": {"spacing": [1.5, 0.8, 2.0]}},
    "two images, by percentile": {
        "modalities": ["T2w", "T1w"],
        "missing_modality": {"policy": "zero"},
        "prepare": {"normalise": "percentile", "crop_margin": None},
    },
    "a window of intensities": {
        "prepare": {"normalise": "window", "window": [5.0, 35.0]},
    },
    "constant windows, by minimum": {
        "prepare": {"normalise": "minmax"},
        "window": {"mode": "constant", "overlap": 0.25, "pad_value": 0.0, **FINE},
    },
    "multi-label, mirrored": {
        "labels": TREE,
        "head": "multilabel",
        "window": {"mirror": True, **FINE},
    },
    "as in the paper": {"labels": TREE, "head": "multilabel", "decoding": "paper"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_script_finds_what_predict_finds(tmp_path: Path, case: str) -> None:
    content = checkpoint()
    told = content["hyper_parameters"]
    told.update({"window": FINE} | CASES[case])
    torch.manual_seed(0)
    weights = ModelSpec.read(told).build_network().state_dict()
    content["state_dict"] = {f"network.{k}": torch.randn(v.shape) for k, v in weights.items()}
    run = save(tmp_path / "run", content)
    shape = (6, 21, 18) if "minimum" in case else (21, 20, 19)
    steps = 30 * (np.indices(shape).sum(axis=0) % 9 > 4)
    images = [
        write_scan(tmp_path / f"{m}.nii.gz", steps + np.random.default_rng(n).normal(10, 3, shape))
        for n, m in enumerate(told["modalities"])
    ]
    ours = Segmenter.load(run, "cpu")(*images).native
    assert len(np.unique(ours)) == 3
    model, out = tmp_path / "model.onnx", tmp_path / "out.nii.gz"
    script = write_onnx(model, TrainedNetwork.load(run, "cpu"), {})
    assert script.name == SCRIPT
    segment.main(str(model), str(out), *map(str, images))
    found = nib.load(out)
    np.testing.assert_allclose(found.affine, nib.load(images[0]).affine)
    assert (np.asarray(found.dataobj) == ours).mean() >= 0.999
