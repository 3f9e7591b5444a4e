"""Every experiment composes and runs for two steps, scores itself and leaves a whole run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig
from tiny_run import train

from neoseg.cohort.annotation import read_plan
from neoseg.configuration.config import CONFIG_DIR
from neoseg.evaluation.table import read_scores

EXPERIMENTS = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))
SMALLER = {
    "partial_pseudo_label_ensemble": ["recipe.ensemble=2"],
    "several_cohorts": [
        "patches.batch_size=3",
        *(f"extra_cohorts.{name}.cohort.phantom.subjects=3" for name in ("clinic", "archive")),
        *(f"extra_cohorts.{name}.cohort.phantom.spacing=4.0" for name in ("clinic", "archive")),
    ],
    **{name: ["patches.size=[1,48,48]"] for name in EXPERIMENTS if name.startswith("paper_")},
}
"""What an experiment needs to be run on a tiny phantom in a few seconds."""

NEEDED = {
    "supervised",
    "full_supervision",
    "partial_superclass",
    "partial_iuc",
    "partial_missing",
    "pseudo_label",
    "mean_teacher",
    "partial_mean_teacher",
    "partial_uncertainty_teacher",
    "partial_cross_pseudo",
    "partial_fixmatch",
    "partial_pseudo_label",
    "partial_pseudo_label_ensemble",
    "label_set",
    "label_set_mean_teacher",
    "paper_2d",
    "paper_supervised",
    "paper_pseudo_label",
    "paper_full",
    "paper_huc",
    "paper_weight",
    "paper_wnorm",
    "partial_tree_min",
    "partial_tissues",
    "several_cohorts",
}

pytestmark = pytest.mark.usefixtures("quick")


def test_the_promised_experiments_are_there() -> None:
    assert set(EXPERIMENTS) >= NEEDED


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_runs_for_two_steps(
    name: str, compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_train(f"+experiment={name}", *SMALLER.get(name, []))
    dice = train(config, tmp_path)
    assert 0 <= dice <= 1
    for part in ("config.yaml", "split.csv", "annotation.csv", "metrics.csv", "scores.csv"):
        assert (tmp_path / part).is_file(), part
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["name"] == name
    assert record["steps"] > 0
    table = read_scores(tmp_path / "scores.csv")
    assert {"cGM", "WM", "dGM", "TCV"} <= set(table["abbreviation"])
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["name"] == name


def test_a_finished_run_is_left_alone(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_train("+experiment=supervised")
    first = train(config, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert train(compose_train("+experiment=supervised"), tmp_path) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_supervised_uses_the_full_subjects_alone(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(compose_train("+experiment=supervised", "score=false"), tmp_path)
    plan = [item for item in read_plan(tmp_path / "annotation.csv") if item.split == "train"]
    assert {item.stream for item in plan} == {"full"}
    assert len({item.subject for item in plan}) == 1


@pytest.mark.slow
def test_all_87_structures_train(compose_train: Callable[..., DictConfig], tmp_path: Path) -> None:
    config = compose_train(
        "+experiment=partial_superclass", "labels=drawem87", "cohort.labels=drawem87"
    )
    train(config, tmp_path)
    classes = set(read_scores(tmp_path / "scores.csv")["abbreviation"])
    assert {"HIP_L", "HIP_R", "CC", "TEMP", "TCV", "HEMI_L"} <= classes


@pytest.mark.slow
def test_tissues_only_on_87(compose_train: Callable[..., DictConfig], tmp_path: Path) -> None:
    config = compose_train(
        "labels=drawem87", "cohort.labels=drawem87", "annotation=tissues", "score=false"
    )
    train(config, tmp_path)
    plan = read_plan(tmp_path / "annotation.csv")
    assert "tissues" in {item.protocol for item in plan}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["dynunet", "segresnet"])
def test_monai_networks_train(
    network: str, compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_train("+experiment=partial_superclass", f"network={network}", "score=false")
    train(config, tmp_path)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
