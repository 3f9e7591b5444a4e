"""Options without a file are what their files were, and those of other packages are as good."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import OmegaConf

from neoseg.configuration import nodes
from neoseg.configuration.config import CONFIG_DIR
from neoseg.losses import Objective, find_term
from neoseg.losses.build import settings_of
from neoseg.losses.registry import BUILT_IN

OUTSIDE = Path(__file__).parents[1] / "outside" / "package"

RAMP = {"share": 1.0, "shape": "sigmoid", "start": 0.0}
DICE = {"include_background": True, "squared": False, "batch": False, "smooth": 1e-5}
LOSSES: dict[str, dict[str, Any]] = {
    "bce": {},
    "class_masked": {
        "level": "item",
        "published": True,
        "bce": 1.0,
        "dice": 1.0,
        "smooth": 1e-5,
    },
    "cross_pseudo": {"ramp": RAMP, "where": "unknown", "streams": "all"},
    "dice": DICE,
    "dice_ce": {"dice": 1.0, "ce": 1.0, **DICE},
    "exclusion": {"dice": 1.0, "ce": 1.0, "smooth": 1e-5},
    "fixmatch": {"threshold": 0.95, "where": "unknown", "streams": "all"},
    "focal": {"gamma": 2.0, "alpha": None},
    "huc": {},
    "iuc": {},
    "leaf_dice": {"alpha": 2.0, "count_open": True, "batch": False, "smooth": 1e-5},
    "marginal_ce": {},
    "marginal_dice": {"alpha": 2.0, "batch": False, "smooth": 1e-5},
    "marginal_focal": {"gamma": 2.0},
    "mean_teacher": {"ramp": RAMP, "where": "all", "streams": "all"},
    "noisy_or": {},
    "tree_min": {"published": True, "noisy_or": 0.0},
    "tversky": {"alpha": 0.3, "beta": 0.7, "batch": False, "smooth": 1e-5},
    "uncertainty_teacher": {
        "ramp": RAMP,
        "where": "all",
        "streams": "all",
        "threshold": 0.75,
        "threshold_share": 1.0,
    },
    "wasserstein_dice": {"distance": "hierarchy", "batch": False, "smooth": 1e-5},
    "weight": {"stop_gradient": False},
    "wnorm": {"stop_gradient": False},
}
"""What `conf/loss/<name>.yaml` said, beside the weight 1 and, where none is named, no ramp."""


def composed(*overrides: str) -> dict[str, Any]:
    nodes.register_nodes()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        found = OmegaConf.to_container(compose("train", list(overrides)))
    assert isinstance(found, dict)
    return found


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make a folder of packages known, with entry points of `mylab`."""

    def forget() -> None:
        for cached in (nodes.option_nodes, nodes.register_nodes):
            cached.cache_clear()

    def found(folder: Path, entries: dict[str, dict[str, str]]) -> None:
        info = tmp_path / "mylab-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.0\n")
        lines = []
        for group, named in entries.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in named.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.syspath_prepend(folder)
        forget()

    yield found
    forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


@pytest.fixture
def from_source(tmp_path: Path, install: Callable[..., None]) -> Callable[..., dict[str, Any]]:
    """Return the option that a group has for one entry point of a source."""

    def option(source: str, group: str = "loss", name: str = "Mine") -> dict[str, Any]:
        (tmp_path / "mylab").mkdir()
        (tmp_path / "mylab" / "__init__.py").write_text("raise ImportError('nobody asked')")
        (tmp_path / "mylab" / "parts.py").write_text(source)
        declared = nodes._GROUPS[group][0]
        install(tmp_path, {declared: {"mine": f"mylab.parts:{name}"}})
        return nodes.option_nodes(group)["mine"]

    return option


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_keys_that_its_file_had(name: str) -> None:
    expected = {"weight": 1.0, "ramp": None, **LOSSES[name]}
    assert composed(f"loss=[{name}]")["loss"] == {name: expected}


def test_every_loss_of_the_package_is_an_option() -> None:
    assert set(LOSSES) <= set(BUILT_IN)
    assert nodes.options("loss") == sorted([*BUILT_IN, "known_dice"])
    assert nodes.options("head") == []
    assert "unet3d" in nodes.options("network")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_source_says_what_the_class_does(name: str) -> None:
    term, node = find_term(name), nodes.option_nodes("loss")[name][name]
    defaults = {key: parameter.default for key, parameter in settings_of(term).items()}
    assert node == {"weight": 1.0, "ramp": term.ramp, **defaults}


def test_losses_combine_and_change() -> None:
    found = composed("loss=[iuc,known_dice,mean_teacher]", "loss.iuc.weight=2")["loss"]
    assert list(found) == ["iuc", "known_dice", "mean_teacher"]
    assert found["iuc"] == {"weight": 2, "ramp": None}
    assert found["known_dice"]["term"] == "class_masked"
    assert composed()["loss"].keys() == {"iuc", "known_dice"}
    ramp = composed("loss.iuc.ramp={share: 0.3}")["loss"]["iuc"]["ramp"]
    assert ramp == {"share": 0.3}


def test_mistakes_are_refused_as_those_in_a_file() -> None:
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'loss\.iuc\.wieght'"):
        composed("loss.iuc.wieght=2")
    with pytest.raises(MissingConfigException, match="'loss/iux'"):
        composed("loss=[iux]")


def test_no_torch_is_needed() -> None:
    code = "from neoseg.configuration import nodes as n; n.register_nodes(); n.register_nodes()"
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"torch", "neoseg.losses", "pandas"})


def test_a_package_from_outside_has_its_options(install: Callable[..., None]) -> None:
    project = tomllib.loads((OUTSIDE / "pyproject.toml").read_text())
    install(OUTSIDE, project["project"]["entry-points"])
    assert {"brier", "iuc"} <= set(nodes.options("loss"))
    assert {"flat", "dhcp"} <= set(nodes.options("cohort"))
    found = composed("loss=[iuc,brier]", "cohort=flat", "network=pocket", "network.net.width=4")
    assert found["loss"]["brier"] == {"weight": 1.0, "ramp": None, "power": 2.0}
    assert found["cohort"] == {
        "_target_": "mylab.readers.read_flat",
        "root": "???",
        "name": "flat",
        "modalities": ["T2w"],
    }
    net = {"_target_": "mylab.networks.PocketNet", "width": 4}
    assert found["network"] == {"name": "pocket", "divisor": 2, "net": net}
    assert "mylab" not in sys.modules


TERM = """
from neoseg.losses import DenseTerm
class Mine(DenseTerm):
    ramp: dict = {"share": 0.3}
    def __init__(self, codebook, extra=1, *, a, b=-1e-3, c=(1, "x"), d=None): pass
"""


def test_the_source_alone_is_read(from_source: Callable[..., dict[str, Any]]) -> None:
    settings = {"a": "???", "b": -1e-3, "c": [1, "x"], "d": None}
    assert from_source(TERM) == {"mine": {"weight": 1.0, "ramp": {"share": 0.3}, **settings}}


@pytest.mark.parametrize(
    "source",
    [
        "LIMIT = 0.5\nclass Mine:\n    ramp = None\n    def __init__(self, *, a=LIMIT): pass",
        "class Base:\n    def __init__(self, *, a=0.5): pass\nclass Mine(Base): pass",
        "from functools import partial\ndef make(*, a): pass\nMine = partial(make, a=0.5)",
        "from dataclasses import *\n@dataclass(kw_only=True)\nclass Mine:\n    a: float = 0.5",
    ],
)
def test_where_the_source_does_not_tell_it_is_imported(
    from_source: Callable[..., dict[str, Any]], tmp_path: Path, source: str
) -> None:
    assert from_source(source) == {
        "mine": {"weight": 1.0, "ramp": None}
    }  # the package refuses to be imported
    (tmp_path / "mylab" / "__init__.py").write_text("")
    nodes.option_nodes.cache_clear()
    assert nodes.option_nodes("loss")["mine"] == {"mine": {"weight": 1.0, "ramp": None, "a": 0.5}}


def test_arguments_that_the_program_gives_are_no_keys(
    from_source: Callable[..., dict[str, Any]],
) -> None:
    source = "def Mine(root, space, depth=2, *, progress=None, on_error='stop', name='x'): pass"
    node = {"_target_": "mylab.parts.Mine", "root": "???", "depth": 2, "name": "x"}
    assert from_source(source, "cohort") == node


def test_a_network_without_a_divisor_takes_any_patch(
    from_source: Callable[..., dict[str, Any]],
) -> None:
    source = "class Mine:\n    def __init__(self, in_channels, out_channels, width=8): pass"
    net = {"_target_": "mylab.parts.Mine", "width": 8}
    assert from_source(source, "network") == {"name": "mine", "divisor": 1, "net": net}


def test_a_built_in_keeps_its_option_beside_another_of_its_name(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install(tmp_path, {"neoseg.losses": {"iuc": "mylab:X"}, "neoseg.readers": {"dhcp": "mylab:X"}})
    assert nodes.option_nodes("loss")["iuc"] == {"iuc": {"weight": 1.0, "ramp": None}}
    assert "dhcp" not in nodes.option_nodes("cohort")


def test_every_preset_builds_its_term(space: Any) -> None:
    from neoseg.labels import Codebook

    book = Codebook.build(space)
    for name in nodes.options("loss"):
        entry = nodes.option_nodes("loss").get(name) or composed(f"loss=[{name}]")["loss"]
        term = find_term(entry[name].get("term", name))
        objective = Objective(entry, book, sorted(term.heads)[0])
        assert type(objective.terms[name]) is term
