"""What MONAI's bundle runner and torch.export make of a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from neoseg.findings.settings import ConfigError
from neoseg.handover.torch_model import SETTINGS_FILE, write_bundle, write_program
from neoseg.inference.model import ModelSpec
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.trained import TrainedNetwork

sys.path += [str(Path(__file__).parents[1] / room) for room in ("red_team", "inference")]
from honest import checkpoint, save
from small_segmenter import write_scan

CASES: dict[str, dict[str, Any]] = {
    "another voxel size": {"prepare": {"spacing": [1.5, 0.8, 2.0]}},
    "two images, mirrored": {
        "modalities": ["T2w", "T1w"],
        "missing_modality": {"policy": "zero"},
        "prepare": {"normalise": "percentile", "crop_margin": None},
        "window": {"mirror": True, "overlap": 0.25, "accumulate": "float32"},
    },
}


def saved(folder: Path, **told: Any) -> Path:
    """A run with weights that were drawn."""
    content = checkpoint()
    content["hyper_parameters"].update({"window": {"accumulate": "float32"}} | told)
    torch.manual_seed(0)
    weights = ModelSpec.read(content["hyper_parameters"]).build_network().state_dict()
    content["state_dict"] = {f"network.{k}": torch.randn(v.shape) for k, v in weights.items()}
    return save(folder, content)


@pytest.mark.parametrize("case", CASES)
def test_the_bundle_finds_what_predict_finds(tmp_path: Path, case: str) -> None:
    bundle = pytest.importorskip("monai.bundle")
    run = saved(tmp_path / "run", **CASES[case])
    shape = (21, 20, 19)
    steps = 30 * (np.indices(shape).sum(axis=0) % 9 > 4)
    images = [
        write_scan(tmp_path / f"{m}.nii.gz", steps + np.random.default_rng(n).normal(10, 3, shape))
        for n, m in enumerate(CASES[case].get("modalities", ["T2w"]))
    ]
    ours = Segmenter.load(run, "cpu")(*images).native
    assert len(np.unique(ours)) == 3
    folder = tmp_path / "bundle"
    write_bundle(folder, TrainedNetwork.load(run, "cpu"), "CC0")
    bundle.run(
        config_file=str(folder / "configs" / "inference.json"),
        meta_file=str(folder / "configs" / "metadata.json"),
        bundle_root=str(folder),
        scans=[[str(path) for path in images]],
        output_dir=str(tmp_path / "out"),
        device="$torch.device('cpu')",
    )
    found = nib.load(tmp_path / "out" / "T2w_seg.nii.gz")
    np.testing.assert_allclose(found.affine, nib.load(images[0]).affine)
    assert (np.asarray(found.dataobj) == ours).mean() >= 0.999


def test_an_exported_program_gives_the_logits(tmp_path: Path) -> None:
    trained = TrainedNetwork.load(saved(tmp_path / "run"), "cpu")
    write_program(tmp_path / "model.pt2", trained, {"licence": "CC0"})
    texts = {SETTINGS_FILE: "", "licence": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=texts)
    image = torch.randn(1, 1, *trained.spec.patch_size)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), trained.network(image))
    assert json.loads(texts[SETTINGS_FILE])["modalities"] == list(trained.spec.modalities)
    assert texts["licence"] == "CC0"


def test_a_network_that_cannot_be_exported_is_one_message(
    tmp_path: Path,
) -> None:
    class Odd(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image if float(image.sum()) > 0 else -image

    trained = TrainedNetwork.load(saved(tmp_path / "run"), "cpu")
    object.__setattr__(trained, "network", Odd())
    with pytest.raises(ConfigError, match=r"network '.*' cannot be written as a program"):
        write_program(tmp_path / "model.pt2", trained, {})
    assert not (tmp_path / "model.pt2").exists()


def test_no_name_in_a_bundle_is_evaluated(tmp_path: Path) -> None:
    bundle = pytest.importorskip("monai.bundle")
    mark = tmp_path / "mark"
    code = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    content = checkpoint()
    content["hyper_parameters"]["labels"]["leaves"][1]["name"] = code
    run = save(tmp_path / "run", content)
    write_bundle(tmp_path / "bundle", TrainedNetwork.load(run, "cpu"), f"{code}\n")
    config = bundle.ConfigParser()
    config.read_meta(tmp_path / "bundle" / "configs" / "metadata.json")
    config.read_config(tmp_path / "bundle" / "configs" / "inference.json")
    config.parse()
    parts = config.get_parsed_content("_meta_")
    assert code in str(parts)
    assert not mark.exists()
