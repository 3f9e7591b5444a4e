from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from cohort_trees import make_dhcp
from hydra.utils import get_class, get_method, instantiate

from neoseg.cohort import AnnotationSettings, SplitSettings
from neoseg.findings.settings import parse_settings
from neoseg.labels import LabelSpace

CONF = Path(__file__).resolve().parents[2] / "conf"


def read(path: Path) -> dict[str, Any]:
    raw = yaml.safe_load(path.read_text())
    assert isinstance(raw, dict)
    return raw


def files(group: str) -> list[Path]:
    found = sorted((CONF / group).glob("*.yaml"))
    assert found, group
    return found


@pytest.mark.parametrize("name", ["dhcp", "bids", "nnunet", "table", "folder", "freesurfer"])
def test_cohort_keys_are_the_reader_s_options_with_their_defaults(name: str) -> None:
    raw = read(CONF / "cohort" / f"{name}.yaml")
    options = inspect.signature(get_method(raw["_target_"])).parameters
    keys = {key: value for key, value in raw.items() if not key.startswith("_")}
    assert set(keys) == set(options) - {"space", "on_error"}  # these come from the command
    for key, value in keys.items():
        default = options[key].default
        wanted = list(default) if isinstance(default, tuple) else default
        assert key == "root" or value == wanted, key


def test_a_cohort_is_made_from_its_config(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_dhcp(tmp_path)
    raw = {**read(CONF / "cohort" / "dhcp.yaml"), "root": str(tmp_path)}
    # A space among the arguments of `instantiate` would be taken for a structured config.
    read_cohort = instantiate(
        {**raw, "subjects": ["CC01"], "convention": {12: None}}, _partial_=True
    )
    cohort = read_cohort(space=drawem9)
    assert [scan.id for scan in cohort.scans] == ["sub-CC01_ses-0100", "sub-CC01_ses-7"]
    assert cohort.convention.values[-1] == 12


@pytest.mark.parametrize("path", files("split"), ids=lambda path: path.stem)
def test_splits(path: Path) -> None:
    raw = {key: "x.csv" if value == "???" else value for key, value in read(path).items()}
    parse_settings(SplitSettings, raw, "split")


@pytest.mark.parametrize("path", files("annotation"), ids=lambda path: path.stem)
def test_annotations(path: Path, drawem9: LabelSpace, drawem87: LabelSpace) -> None:
    own = read(path)
    if path.stem == "table":
        assert own == {"defaults": ["full", "_self_"], "full_fraction": None}
        return
    assert own.pop("defaults", None) == (None if path.stem == "full" else ["full", "_self_"])
    raw = read(CONF / "annotation" / "full.yaml") | own
    settings = parse_settings(AnnotationSettings, raw, path.stem)
    assert set(raw) == set(AnnotationSettings.model_fields)
    assert settings.protocol.name == path.stem
    assert settings.full_fraction == (1.0 if path.stem == "full" else 0.05)
    space = drawem87 if path.stem == "tissues" else drawem9
    own = settings.resolved(space)[path.stem]
    hides = own.sets != settings.resolved(space)["full"].sets or own.slices is not None
    assert hides == (path.stem != "full")


def test_targets_are_public() -> None:
    for path in files("cohort"):
        if path.stem in ("dhcp", "bids"):
            module, name = read(path)["_target_"].rsplit(".", 1)
            assert name in __import__(module, fromlist=["__all__"]).__all__
    assert get_class("neoseg.cohort.Cohort").__name__ == "Cohort"
