"""An offline run, read by `wandb sync`: the server hears all that the run folder knows."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from small_wandb_run import Recorded

from neoseg.evaluation.table import read_scores
from neoseg.labels import LabelSpace
from neoseg.tracking.curves import WAIT

pytestmark = pytest.mark.slow

PLANES = ["sagittal", "coronal", "axial"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


def filled(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty groups, which W&B does not keep."""
    kept = {k: filled(v) if isinstance(v, dict) else v for k, v in settings.items()}
    return {key: value for key, value in kept.items() if value != {}}


def overlays(recorded: Recorded) -> list[dict[str, Any]]:
    return [row["overlays/1"] for row in recorded.run.history if "overlays/1" in row]


def picture(recorded: Recorded, path: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(recorded.files[path])))


def test_it_is_found_by_sweep_arm_and_tags(recorded: Recorded) -> None:
    about = recorded.run.about
    assert about["project"] == "neoseg"
    assert about["displayName"] == "partial_superclass-draw0-seed0"
    assert about["groupName"] == "ablation"
    assert about["jobType"] == "partial_superclass"
    assert set(about["tags"]) == {"tried", "phantom", "drawem9", "unet3d"}


def test_it_has_the_whole_configuration(recorded: Recorded) -> None:
    written = OmegaConf.to_container(OmegaConf.load(recorded.folder / "config.yaml"))
    assert isinstance(written, dict)
    assert recorded.run.config == filled(json.loads(json.dumps(written | {"stage": "last"})))


def test_its_curves_are_those_of_the_table(recorded: Recorded) -> None:
    sent = [row for row in recorded.run.history if "train/loss" in row or "val/dice" in row]
    expected = rows(recorded.folder)
    assert len(sent) == len(expected) == 6
    for row, line in zip(expected, sent, strict=True):
        values = {name: float(value) for name, value in row.items() if value}
        assert values == pytest.approx({name: line[name] for name in values}, nan_ok=True)


def test_curves_tell_of_each_class_and_term(recorded: Recorded, drawem9: LabelSpace) -> None:
    names = set().union(*recorded.run.history)
    assert {f"val/dice/{leaf.abbreviation}" for leaf in drawem9.leaves} <= names
    assert {
        "val/dice/TCV",
        "train/marginal_ce",
        "train/leaf_dice",
        "train/loss",
        "lr",
        WAIT,
    } <= names


def test_each_validation_shows_the_same_scan(recorded: Recorded) -> None:
    found = overlays(recorded)
    assert len(found) == 2  # validations
    assert "overlays/2" not in set().union(*recorded.run.history)  # overlays=1
    for entry in found:
        assert entry["count"] == 3
        assert [text.split(", ")[1] for text in entry["captions"]] == PLANES
    assert found[0]["captions"] == found[1]["captions"]
    first, last = (
        [picture(recorded, name) for name in entry["filenames"]] for entry in (found[0], found[1])
    )
    for one, other in zip(first, last, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.max() > one.min()


def test_masks_show_truth_and_prediction(recorded: Recorded, drawem9: LabelSpace) -> None:
    classes = recorded.run.mask_classes
    for kind in ("prediction", "truth"):
        (names,) = (value for key, value in classes.items() if key.endswith(f"delimeter_{kind}"))
        assert names["0"] == "BG"
        assert {leaf.abbreviation for leaf in drawem9.leaves} <= set(names.values())
        assert "TCV" in names.values()  # what the annotation of partial scans tells
    entry = overlays(recorded)[-1]
    for masks, name in zip(entry["all_masks"], entry["filenames"], strict=True):
        layers = {kind: picture(recorded, mask["path"]) for kind, mask in masks.items()}
        assert set(layers) == {"prediction", "truth"}
        for layer in layers.values():
            assert layer.shape == picture(recorded, name).shape[:2]
            assert set(np.unique(layer)) <= set(map(int, names))
        assert len(np.unique(layers["truth"])) > 4


def test_the_score_table_is_the_one_in_the_folder(recorded: Recorded) -> None:
    (row,) = (row for row in recorded.run.history if "scores" in row)
    table = json.loads(recorded.files[row["scores"]["path"]])
    scores = read_scores(recorded.folder / "scores.csv")
    assert table["columns"] == list(scores.columns)
    assert len(table["data"]) == len(scores) > 0
    place = table["columns"].index("dice")
    np.testing.assert_allclose([line[place] for line in table["data"]], scores["dice"])


def test_the_summary_compares_runs(recorded: Recorded, drawem9: LabelSpace) -> None:
    summary = recorded.run.summary
    scores = read_scores(recorded.folder / "scores.csv")
    record = json.loads((recorded.folder / "run.json").read_text())
    leaves = scores[scores["is_leaf"]]
    assert summary["test/dice"] == pytest.approx(record["test_dice"])
    assert summary["test/full_fraction"] == 0.05
    assert summary["cost/seconds"] == record["seconds"]
    for kind in (True, False):
        part = leaves[leaves["hidden"] == kind].groupby("abbreviation").dice.mean().mean()
        assert summary[f"test/dice_{'hidden' if kind else 'visible'}"] == pytest.approx(part)
    for leaf in drawem9.leaves:
        found = summary.get(f"test/dice/{leaf.abbreviation}")
        assert found is None or math.isfinite(found)
    assert "not a medical device" in summary["limits_of_use"]


def test_the_card_is_a_page_and_an_artefact(recorded: Recorded) -> None:
    (row,) = (row for row in recorded.run.history if "run_card" in row)
    page = recorded.files[row["run_card"]["path"]].decode()
    assert "Limits of use" in page
    assert "run-card" in recorded.run.artifacts.values()


def test_nothing_but_the_run_is_in_the_folder_of_the_sweep(recorded: Recorded) -> None:
    assert [path.name for path in recorded.folder.parent.iterdir()] == ["job"]
    assert len(list((recorded.folder / "wandb").glob("offline-run-*"))) == 1
