"""Checkpoints of strangers are data, or they are refused."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parent / "training"))

from small_module import make_module, module_arguments
from tiny_run import load_module

from neoseg.findings.settings import ConfigError
from neoseg.inference.trained import TrainedNetwork
from neoseg.runs.stage import require_fitting


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def content() -> dict[str, Any]:
    return {"state_dict": make_module().state_dict(), "hyper_parameters": module_arguments()}


def write(run: Path, content: object) -> Path:
    path = run / "checkpoints" / "last.ckpt"
    path.parent.mkdir(exist_ok=True)
    torch.save(content, path)
    return path


def test_a_sound_one_loads(content: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, content)
    for name, value in load_module(tmp_path).state_dict().items():
        assert torch.equal(value, content["state_dict"][name])
    network = TrainedNetwork.load(tmp_path, "cpu").network
    for name, value in network.state_dict().items():
        assert torch.equal(value, content["state_dict"][f"network.{name}"])


@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters", "callbacks", "whole"])
def test_no_pickle_is_executed(content: dict[str, Any], tmp_path: Path, place: str) -> None:
    evil = Evil(tmp_path / "mark")
    path = write(tmp_path, evil if place == "whole" else content | {place: evil})
    with pytest.raises(ConfigError, match=r"it names \w+\.system; nothing in it was used"):
        TrainedNetwork.load(tmp_path, "cpu")
    with pytest.raises(ConfigError, match="delete it to train this stage again"):
        require_fitting(path, make_module())
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"_instantiator": "os.system"},
        {"network": {"name": "x", "divisor": 1, "net": {"_target_": "os.system"}}},
        {"network": {"name": "x", "divisor": 1, "net": {"_target_": "torch.load"}}},
        {"loss": {"os.system": {"weight": 1.0}}},
        {"optimizer": {"name": "os.system", "lr": 1.0}},
        {"labels": "text"},
    ],
)
def test_names_in_it_reach_no_code(
    content: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    content["hyper_parameters"] = content["hyper_parameters"] | changes
    write(tmp_path, content)
    with pytest.raises(ConfigError, match=r"last\.ckpt cannot be loaded"):
        load_module(tmp_path)
    if not {"loss", "optimizer"} & set(changes):  # which no prediction looks at
        with pytest.raises(ConfigError, match=r"last\.ckpt cannot be loaded"):
            TrainedNetwork.load(tmp_path, "cpu")


@pytest.mark.parametrize(
    "odd", [{}, [], "text", 3, {"state_dict": 1, "hyper_parameters": 2}, {"state_dict": {}}]
)
def test_other_contents_are_told(tmp_path: Path, odd: object) -> None:
    write(tmp_path, odd)
    with pytest.raises(ConfigError, match="not a checkpoint of a run"):
        load_module(tmp_path)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_told(
    content: dict[str, Any], tmp_path: Path, share: float
) -> None:
    path = write(tmp_path, content)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ConfigError, match=r"last\.ckpt"):
        load_module(tmp_path)


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../mark", "x")
    with pytest.raises(ConfigError, match=r"last\.ckpt"):
        load_module(tmp_path)
    assert not list(tmp_path.rglob("mark"))


def test_a_run_does_not_go_on_with_another_network(content: dict[str, Any], tmp_path: Path) -> None:
    rest = {key: {} for key in ("loops", "callbacks", "optimizer_states", "lr_schedulers")}
    path = write(tmp_path, content | rest | {"global_step": 3})
    require_fitting(path, make_module())
    with pytest.raises(ConfigError, match=r"holds another network: \d+ of \d+ weights differ"):
        require_fitting(path, make_module(modalities=["T2w", "T1w"]))
    write(tmp_path, content)
    with pytest.raises(ConfigError, match="lacks callbacks, global_step, loops"):
        require_fitting(path, make_module())
