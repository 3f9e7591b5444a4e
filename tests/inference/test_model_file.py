"""One file to hand over: it predicts as its run does, and a spoilt one is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from neoseg.errors import NeosegError
from neoseg.findings.settings import ConfigError
from neoseg.inference.image_names import Naming
from neoseg.inference.model_file import KEY, Member, code_of, read_model, write_model
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.trained import TrainedNetwork
from neoseg.own_code import recorded_code, write_code
from neoseg.runs.loading import load_predictor, naming_of

sys.path.append(str(Path(__file__).parents[1] / "red_team"))
from honest import MODEL, checkpoint, save
from small_segmenter import write_scan


def made(tmp_path: Path, name: str = "A", seed: int = 0) -> Path:
    content = checkpoint()
    torch.manual_seed(seed)
    for value in content["state_dict"].values():
        if value.is_floating_point():
            value.copy_(torch.randn_like(value))
    return save(tmp_path / name, content)


def handed(tmp_path: Path, *runs: Path, **more: Any) -> Path:
    networks = [TrainedNetwork.load(run, "cpu") for run in runs]
    members = [
        Member(run.name, trained.predicts, trained.spec.plain(), **more)
        for run, trained in zip(runs, networks, strict=True)
    ]
    path = tmp_path / "model.neoseg"
    write_model(path, members, [t.network.state_dict() for t in networks], "CC0")
    return path


def scan(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(10, 3, (12, 11, 10)).astype(np.float32)
    return write_scan(tmp_path / "scan.nii.gz", values, "LPS")


def test_it_predicts_what_its_run_predicts(tmp_path: Path) -> None:
    run = made(tmp_path)
    path = handed(tmp_path, run, desc="restore", entities={"ce": None}, names={"t1": "T1"})
    image = scan(tmp_path)
    ours, theirs = (Segmenter.load(place, "cpu")(image).native for place in (run, path))
    assert len(np.unique(ours)) > 1
    np.testing.assert_array_equal(ours, theirs)
    assert naming_of(path) == Naming("restore", entities={"ce": None}, names={"t1": "T1"})
    told, _ = read_model(path)
    assert told.licence == "CC0"
    assert b"pickle" not in path.read_bytes()


def test_several_runs_vote_as_they_do(tmp_path: Path) -> None:
    runs = [made(tmp_path, "A"), made(tmp_path, "B", 1)]
    image = [scan(tmp_path)]
    ours, _ = load_predictor(runs, "cpu", None)
    theirs, _ = load_predictor([handed(tmp_path, *runs)], "cpu", None)
    np.testing.assert_array_equal(ours.segment(image).native, theirs.segment(image).native)


def test_another_network_than_was_handed_over_is_refused(tmp_path: Path) -> None:
    path = handed(tmp_path, made(tmp_path))
    with pytest.raises(ConfigError, match="holds the student of 'A' alone"):
        TrainedNetwork.load_file(path, "cpu", "teacher")


def head(**changes: Any) -> dict[str, Any]:
    member = {"name": "A", "predicts": "student", "spec": MODEL, "desc": None, "space": None}
    member |= {"card": None} | changes.pop("member", {})
    return {"version": 1, "licence": None, "members": [member]} | changes


def tensors(path: Path, told: Any, weights: dict[str, torch.Tensor] | None = None) -> None:
    save_file(weights or {"0.x": torch.zeros(2)}, path, told and {KEY: json.dumps(told)})


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_bytes(b""),
    "a text": lambda p: p.write_text("hello, this is no model"),
    "a giant head": lambda p: p.write_bytes((2**60).to_bytes(8, "little") + b"{}"),
    "nested deeply": lambda p: p.write_bytes((10**5).to_bytes(8, "little") + b"{" * 10**5),
    "weights alone": lambda p: tensors(p, None),
    "a later version": lambda p: tensors(p, head(version=9)),
    "no members": lambda p: tensors(p, head(members=[])),
    "members of another kind": lambda p: tensors(p, head(members=[3])),
    "a name that is none": lambda p: tensors(p, head(member={"name": 3})),
    "a reference": lambda p: tensors(p, head(member={"spec": {"head": "${oc.env:HOME}"}})),
    "no spec": lambda p: tensors(p, head(member={"spec": {}})),
    "a class that is no network": lambda p: tensors(
        p, head(member={"spec": MODEL | {"network": {**MODEL["network"], "net": {
            "_target_": "os.system", "command": "true"}}}})
    ),
    "other weights": lambda p: tensors(p, head()),
    "weights of nobody": lambda p: tensors(p, head(), {"7.x": torch.zeros(2)}),
    "weights without a number": lambda p: tensors(p, head(), {"x": torch.zeros(2)}),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_file_is_one_message(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.neoseg"
    SPOILT[what](path)
    with pytest.raises(NeosegError, match=r"model\.neoseg|os\.system"):
        load_predictor([path], "cpu", None)


def test_names_of_modalities_are_text(tmp_path: Path) -> None:
    path = tmp_path / "model.neoseg"
    tensors(path, head(member={"names": {"T1w": 1}}))
    with pytest.raises(ConfigError, match=r"model\.neoseg has \{'T1w': 1\} as names of a network"):
        read_model(path)


def test_a_file_cut_anywhere_is_one_message(tmp_path: Path) -> None:
    path = handed(tmp_path, made(tmp_path))
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"model\.neoseg"):
            read_model(path)


def test_changed_code_of_a_network_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("nets", "layers"):
        (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    for name in ("nets", "layers"):
        monkeypatch.setitem(sys.modules, name, module_from_spec(find_spec(name)))
    run = made(tmp_path)
    elsewhere = tmp_path / "deeper"
    elsewhere.mkdir()
    (elsewhere / "others.py").write_text("")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.setitem(sys.modules, "others", module_from_spec(find_spec("others")))
    write_code(run, ["nets"])
    assert set(recorded_code(run)) == {"nets", "layers"}, "what lies beside is the user's, too"
    trained = TrainedNetwork.load(run, "cpu", allow=["nets"])
    members = [Member("A", trained.predicts, trained.spec.plain())]
    path = tmp_path / "model.neoseg"
    write_model(path, members, [trained.network.state_dict()], code=recorded_code(run))
    assert code_of(path) == code_of(run) == recorded_code(run)
    TrainedNetwork.load_file(path, "cpu", allow=["nets"])
    assert not caplog.records
    (tmp_path / "layers.py").write_text("VALUE = 2\n")
    for load, place in ((TrainedNetwork.load, run), (TrainedNetwork.load_file, path)):
        caplog.clear()
        load(place, "cpu", allow=["nets"])
        assert f"the code of layers has changed since {place} was trained" in caplog.text
    caplog.clear()
    TrainedNetwork.load_file(path, "cpu")
    assert not caplog.records, "nothing of other packages is allowed"


def test_colleagues_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert handed(tmp_path, made(tmp_path)).stat().st_mode == (tmp_path / "plain").stat().st_mode
