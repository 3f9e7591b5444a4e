"""What neoseg borrows of other libraries' insides is still there and does what it did."""

from __future__ import annotations

import getpass
import inspect
import os
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from neoseg import borrowed
from neoseg.imports import name_user, not_installed


def test_changes_of() -> None:
    tensor = torch.zeros(3)
    before = borrowed.changes_of(tensor)
    tensor + 1
    assert borrowed.changes_of(tensor) == before
    tensor[1:].add_(1)
    assert borrowed.changes_of(tensor) == before + 1


def test_empty_shared() -> None:
    block = borrowed.empty_shared(1000)
    assert block.is_shared()
    assert (block.dtype, block.shape) == (torch.uint8, (1000,))
    assert block.fill_(7).sum() == 7000


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "")  # what it sets is taken back

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    name_user()
    assert getpass.getuser() == str(os.getuid())


@pytest.mark.parametrize(
    "text",
    [
        "a: 1e3\nb: 1_000.5\nc: 12:30:45\nd: .nan\ne: 2026-01-02\nf: yes\ng: 0o17\nh: 010",
        "x: {y: [1, '2', null, ~, \"é\"]}\nz: |\n  text\n  more\n&a b: *a",
        "- a\n- ${oc.env:HOME}\n- !!str 3",
    ],
)
def test_yaml_parsed_in_c_means_what_it_meant(text: str) -> None:
    if not yaml.__with_libyaml__:
        pytest.skip("PyYAML has no C library here")
    from omegaconf import _utils

    fast = _utils.get_yaml_loader()
    assert issubclass(fast, yaml.CSafeLoader.__bases__[0])
    (own,) = (cls for cls in fast.__mro__ if cls.__name__ == "OmegaConfLoader")
    assert repr(yaml.load(text, Loader=fast)) == repr(yaml.load(text, Loader=own))
    for loader in (fast, own):
        with pytest.raises(yaml.constructor.ConstructorError, match="duplicate key a"):
            yaml.load("a: 1\na: 2", Loader=loader)
        with pytest.raises(yaml.YAMLError, match=r"line [23]"):
            yaml.load("a: 1\nb: [", Loader=loader)


def test_hydra_s_errors_are_seen_before_it_prints_them() -> None:
    seen: list[Exception] = []
    from hydra._internal import utils

    plain = utils.run_and_report
    try:
        for _ in range(2):  # not one within the other
            borrowed.guard_hydra(seen.append)
        assert utils.run_and_report(lambda: 3) == 3
        with pytest.raises(SystemExit):
            utils.run_and_report(lambda: 1 / 0)
        assert [type(error) for error in seen] == [ZeroDivisionError]
        assert "run_and_report(" in inspect.getsource(utils._run_app)
    finally:
        utils.run_and_report = plain


def test_wandb_has_the_settings_that_keep_a_machine_to_itself() -> None:
    settings = import_module("wandb").Settings(**borrowed.NOTHING_OF_THE_MACHINE)
    assert settings.x_disable_meta
    assert settings.disable_git


MONAI_AND_LIGHTNING = """
import sys
import pandas
kept = pandas
from neoseg.borrowed import UNUSED_BY_TORCHMETRICS
from neoseg.imports import UNUSED_BY_MONAI, import_monai
finders = list(sys.meta_path)
import_monai()
assert sys.meta_path == finders
assert sys.modules["pandas"] is kept
there = [name for name in UNUSED_BY_MONAI if name in sys.modules]
assert there == ["pandas"], there

from lightning_utilities.core.imports import RequirementCache
import neoseg.training.checkpoint
assert "lightning" in sys.modules
assert not {*UNUSED_BY_TORCHMETRICS} & {*sys.modules}
assert RequirementCache("matplotlib")  # for all others it is there

import matplotlib.pyplot, PIL.Image, scipy.signal, transformers
from torch.utils.tensorboard import SummaryWriter
from monai.losses.focal_loss import sigmoid_focal_loss
from monai.metrics import compute_hausdorff_distance
import yaml
from neoseg.networks import build_network
for name in ("unet3d", "dynunet", "segresnet", "swinunetr", "segformer_b0"):
    with open(f"conf/network/{name}.yaml") as file:
        size = (64, 64, 1 if name == "segformer_b0" else 64)
        build_network(yaml.safe_load(file), 1, 9, size)
"""


def test_monai_and_lightning_are_imported_without_what_they_can_do_without() -> None:
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-W", "ignore", "-c", MONAI_AND_LIGHTNING]
    subprocess.run(command, cwd=root, env=environment, check=True, timeout=200)


def test_only_the_thread_itself_finds_a_module_not_installed(monkeypatch) -> None:
    before = list(sys.meta_path)
    found = []
    with not_installed(["wave", "json"]):
        assert import_module("json") is sys.modules["json"]
        monkeypatch.delitem(sys.modules, "wave", raising=False)
        with pytest.raises(ModuleNotFoundError, match="No module named 'wave'"):
            import_module("wave")
        other = threading.Thread(target=lambda: found.append(import_module("wave").__name__))
        other.start()
        other.join()
    assert found == ["wave"]
    with pytest.raises(RuntimeError), not_installed(["wave"]):
        raise RuntimeError
    assert sys.meta_path == before


def test_configurations_of_the_shared_store_are_copies() -> None:
    from copy import deepcopy

    from hydra.core.config_store import ConfigStore

    from neoseg.borrowed import share_config_store

    share_config_store()
    store = ConfigStore.instance()
    assert deepcopy(store) is store
    store.store(name="of_a_test", node={"a": [1]})
    first, second = (store.load("of_a_test.yaml").node for _ in range(2))
    first.a[0] = 2
    assert second.a[0] == 1


def test_hydra_s_own_parser_reads_a_command_line() -> None:
    from neoseg.borrowed import hydra_arguments

    found = hydra_arguments(["-m", "--config-dir", "x", "a=1,2", "b=3"])
    assert found is not None
    assert (found.multirun, found.config_dir, found.overrides) == (True, "x", ["a=1,2", "b=3"])
    assert hydra_arguments(["--no-such-option"]) is None


@pytest.mark.parametrize(
    ("override", "keys"),
    [
        ("a={1:A,1:B}", [["1", "1"]]),
        ("+a={ x : {y:1,y:2}, z:[{q:1}] }", [["x", "z"], ["q"], ["y", "y"]]),
        ("a=[1,2]", []),
        ("a={b", []),
        ("~a", []),
    ],
)
def test_mappings_of_an_override(override: str, keys: list[list[str]]) -> None:
    assert borrowed.mappings_of(override) == keys


def test_hydra_options() -> None:
    takes = borrowed.hydra_options()
    assert takes["--config-dir"]("x")
    assert not takes["-m"]("x")
    assert takes["--info"]("defaults")
    assert not takes["--info"]("a=1")


@pytest.mark.parametrize("devices", [1, 2])
def test_lightning_starts_the_other_processes_itself(devices: int) -> None:
    from lightning.pytorch import Trainer

    from neoseg.borrowed import starts_processes

    trainer = Trainer(accelerator="cpu", devices=devices, strategy="ddp", logger=False)
    assert starts_processes(trainer)
    assert not starts_processes(Trainer(accelerator="cpu", logger=False))


def test_a_workspace_tells_what_it_would_send() -> None:
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    from neoseg.borrowed import workspace_model

    workspace = workspaces.Workspace(entity="e", project="p", name="n")
    assert workspace_model(workspace).display_name == "n"


def test_sbatch_gets_the_file_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    given = {"name": "a", "timeout_min": 90, "mem_gb": 7.5, "tasks_per_node": 2}
    given |= {"slurm_partition": "gpu", "slurm_array_parallelism": 3}
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(**given)
    real = executor._executor
    for jobs in (None, 5):
        if jobs:
            real.parameters["map_count"] = jobs
        written = real._make_submission_file_text("", "id")
        assert borrowed.sbatch_file(str(tmp_path), jobs, given) == written
