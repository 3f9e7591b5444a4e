"""`neoseg.export`, and `neoseg.predict` with what it has written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from neoseg.inference.model_file import read_head

sys.path += [str(Path(__file__).parents[1] / room) for room in ("red_team", "inference")]
from honest import checkpoint, save
from small_segmenter import write_scan

Command = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    content = checkpoint()
    torch.manual_seed(0)
    for value in content["state_dict"].values():
        if value.is_floating_point():
            value.copy_(torch.randn_like(value))
    return save(tmp_path / "run A", content)


def test_predict_gives_with_the_file_what_it_gives_with_the_run(
    command: Command, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).normal(10, 3, (12, 11, 10)).astype(np.float32)
    image = write_scan(tmp_path / "sub-1_T2w.nii.gz", values, "LPS")
    model = tmp_path / "model.neoseg"
    assert command("export", f"run={run}", f"output={model}", "licence=CC0") == 0
    assert (read_head(model).licence, read_head(model).members[0].name) == ("CC0", "run A")
    for key, place in (("run", run), ("model", model)):
        arguments = (f"{key}={place}", f"input={image}", f"output={tmp_path / key}")
        assert command("predict", *arguments, "device=cpu", "picture=false") == 0
    ours, theirs = (
        nib.load(next((tmp_path / key).rglob("*_dseg.nii.gz"))) for key in ("run", "model")
    )
    np.testing.assert_array_equal(ours.dataobj, theirs.dataobj)
    assert len(np.unique(ours.dataobj)) > 1
    for name, key in (("evaluate", "run"), ("train", "resume"), ("export", "run")):
        assert command(name, f"{key}={model}") == 2
        assert f"{model} is a file, and neoseg.{name} needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("output=model.pt",), "a file that ends in .neoseg"),
        (("output=model.neoseg", "format=onnx"), "a file that ends in .onnx"),
        (("output=model.neoseg", "format=monai_bundle"), "a folder, without an ending"),
        (("output=there.neoseg",), "is there already"),
        (("output=model.onnx", "format=onnx"), "segment.py is there already"),
        (("output=model.neoseg", "predict_with=teacher"), "this run has none"),
    ],
)
def test_what_cannot_be_written_is_one_message(
    command: Command,
    run: Path,
    arguments: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run.parent)
    Path("there.neoseg").touch()
    Path("segment.py").write_text("mine")
    assert command("export", f"run={run}", *arguments) == 2
    told = "".join(capsys.readouterr())
    assert says in told
    assert "Traceback" not in told
    assert Path("segment.py").read_text() == "mine"
