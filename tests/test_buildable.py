"""No configuration, a stranger's least of all, runs code or reads what it must not."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from neoseg.buildable import (
    COHORTS,
    FORCE,
    NETWORKS,
    READERS,
    TargetError,
    data_only,
    is_class,
    require_targets,
)
from neoseg.configuration.config import CONFIG_DIR, job_name
from neoseg.configuration.data import CohortConfig
from neoseg.findings.settings import ConfigError
from neoseg.networks import NetworkError, build_network


class Evil:
    """What a pickle does when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


def read(**values: Any) -> CohortConfig:
    labels = yaml.safe_load((CONFIG_DIR / "labels" / "drawem9.yaml").read_text())
    cohort = {"_convert_": "all", **values}
    return CohortConfig.parse({"labels": labels, "cohort": cohort, "store": {}})


@pytest.mark.parametrize(
    "values",
    [
        {"_target_": "os.system", "command": "touch {mark}"},
        {"_target_": "neoseg.cohort.synthetic.os.system", "command": "touch {mark}"},
        {"_target_": "neoseg.cohort.read_bids", "exclude": {"_target_": "os.system"}},
        {"_target_": "neoseg.cohort.read_bids", "exclude": [{"x": {"_target_": "os.getcwd"}}]},
        {"_target_": "neoseg.cohort.phantom.writer.write_volume", "path": "{mark}"},
        {"_target_": "neoseg.cohort.folders.Path", "path": "x"},
        {"_target_": "neoseg.cohort_evil.read_x"},
        {"_target_": "neoseg.cohort"},
        {"_target_": ""},
        {},
    ],
)
def test_a_cohort_is_read_by_a_reader_alone(tmp_path: Path, values: dict[str, Any]) -> None:
    mark = tmp_path / "mark"
    for key in ("command", "path"):
        if key in values:
            values = values | {key: values[key].format(mark=mark)}
    nested = values.get("exclude")
    if isinstance(nested, dict):
        values = values | {"exclude": nested | {"command": f"touch {mark}"}}
    with pytest.raises(ConfigError, match=r"cohort cannot be read|cohort\._target_ is not set"):
        read(**values)
    assert not mark.exists()


def test_the_readers_pass() -> None:
    for name in ("read_bids", "read_dhcp", "read_phantom"):
        config = {"_target_": f"neoseg.cohort.{name}"}
        require_targets(config, COHORTS, callable, "reader", READERS)


def test_no_target_is_called_or_imported_while_it_is_checked(tmp_path: Path) -> None:
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(TargetError, match="lies outside"):
            require_targets(
                {"_target_": "evil_module.x"}, ["torch.nn.Conv3d"], is_class, "class", NETWORKS
            )
    assert not (tmp_path / "mark").exists()


def test_weights_that_a_network_loads_by_itself_are_data(tmp_path: Path) -> None:
    # Some networks of the allowed packages take a path or an address of weights.
    torch.save({"state_dict": Evil(tmp_path / "mark")}, tmp_path / "evil.pt")
    net = {
        "_target_": "monai.networks.nets.SwinUNETR",
        "img_size": [64, 64, 64],
        "weights": str(tmp_path / "evil.pt"),
    }
    with pytest.raises(NetworkError):
        build_network({"name": "odd", "divisor": 32, "net": net}, 1, 3, (64, 64, 64))
    assert not (tmp_path / "mark").exists()


def test_torch_reads_data_only_whoever_asks_for_more(tmp_path: Path) -> None:
    torch.save(Evil(tmp_path / "mark"), tmp_path / "evil.pt")
    before = os.environ.get(FORCE)
    with data_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "evil.pt", weights_only=False)
    assert os.environ.get(FORCE) == before
    assert not (tmp_path / "mark").exists()


def test_checking_a_cohort_s_keys_imports_nothing_foreign(tmp_path: Path) -> None:
    (tmp_path / "evil_reader.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(ConfigError, match="lies outside"):
            read(_target_="evil_reader.read_x", root="x")
    assert not (tmp_path / "mark").exists()
    with pytest.raises(ConfigError, match=r"'cohort\.rot'.*'root'"):
        read(_target_="neoseg.cohort.read_bids", rot="x")


@pytest.mark.parametrize("text", ["split.file-../../x.csv", "a-/etc/x", "../..", "x" * 500 + "/y"])
def test_the_folder_of_a_job_is_one_folder(text: str, tmp_path: Path) -> None:
    name = job_name([f"split.file={text}"], [])
    assert "/" not in name
    (tmp_path / "sweep" / f"{name}").mkdir(parents=True)
