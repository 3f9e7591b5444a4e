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
from small_mirror import Mirrored

from neoseg.evaluation import read_scores
from neoseg.labels import LabelSpace
from neoseg.training.curves import WAIT

pytestmark = pytest.mark.slow

PLANES = ["sagittal", "coronal", "axial"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


def filled(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty groups, which W&B does not keep."""
    kept = {k: filled(v) if isinstance(v, dict) else v for k, v in settings.items()}
    return {key: value for key, value in kept.items() if value != {}}


def overlays(mirrored: Mirrored) -> list[dict[str, Any]]:
    return [row["overlays/1"] for row in mirrored.run.history if "overlays/1" in row]


def picture(mirrored: Mirrored, path: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(mirrored.files[path])))


def test_it_is_found_by_sweep_arm_and_tags(mirrored: Mirrored) -> None:
    about = mirrored.run.about
    assert about["project"] == "neoseg"
    assert about["displayName"] == "partial_superclass-draw0-seed0"
    assert about["groupName"] == "ablation"
    assert about["jobType"] == "partial_superclass"
    assert set(about["tags"]) == {"tried", "phantom", "drawem9", "unet3d"}


def test_it_has_the_whole_configuration(mirrored: Mirrored) -> None:
    written = OmegaConf.to_container(OmegaConf.load(mirrored.folder / "config.yaml"))
    assert isinstance(written, dict)
    assert mirrored.run.config == filled(json.loads(json.dumps(written | {"stage": "last"})))


def test_its_curves_are_those_of_the_table(mirrored: Mirrored) -> None:
    sent = [row for row in mirrored.run.history if "train/loss" in row or "val/dice" in row]
    expected = rows(mirrored.folder)
    assert len(sent) == len(expected) == 6
    for row, line in zip(expected, sent, strict=True):
        values = {name: float(value) for name, value in row.items() if value}
        assert values == pytest.approx({name: line[name] for name in values}, nan_ok=True)


def test_curves_tell_of_each_class_and_term(mirrored: Mirrored, drawem9: LabelSpace) -> None:
    names = set().union(*mirrored.run.history)
    assert {f"val/dice/{leaf.abbreviation}" for leaf in drawem9.leaves} <= names
    assert {"val/dice/TCV", "train/iuc", "train/known_dice", "train/loss", "lr", WAIT} <= names


def test_each_validation_shows_the_same_scan(mirrored: Mirrored) -> None:
    found = overlays(mirrored)
    assert len(found) == 2  # validations
    assert "overlays/2" not in set().union(*mirrored.run.history)  # overlays=1
    for entry in found:
        assert entry["count"] == 3
        assert [text.split(", ")[1] for text in entry["captions"]] == PLANES
    assert found[0]["captions"] == found[1]["captions"]
    first, last = (
        [picture(mirrored, name) for name in entry["filenames"]] for entry in (found[0], found[1])
    )
    for one, other in zip(first, last, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.max() > one.min()


def test_masks_show_truth_and_prediction(mirrored: Mirrored, drawem9: LabelSpace) -> None:
    classes = mirrored.run.mask_classes
    for kind in ("prediction", "truth"):
        (names,) = (value for key, value in classes.items() if key.endswith(f"delimeter_{kind}"))
        assert names["0"] == "BG"
        assert {leaf.abbreviation for leaf in drawem9.leaves} <= set(names.values())
        assert "TCV" in names.values()  # what the annotation of partial scans tells
    entry = overlays(mirrored)[-1]
    for masks, name in zip(entry["all_masks"], entry["filenames"], strict=True):
        layers = {kind: picture(mirrored, mask["path"]) for kind, mask in masks.items()}
        assert set(layers) == {"prediction", "truth"}
        for layer in layers.values():
            assert layer.shape == picture(mirrored, name).shape[:2]
            assert set(np.unique(layer)) <= set(map(int, names))
        assert len(np.unique(layers["truth"])) > 4


def test_the_score_table_is_the_one_in_the_folder(mirrored: Mirrored) -> None:
    (row,) = (row for row in mirrored.run.history if "scores" in row)
    table = json.loads(mirrored.files[row["scores"]["path"]])
    scores = read_scores(mirrored.folder / "scores.csv")
    assert table["columns"] == list(scores.columns)
    assert len(table["data"]) == len(scores) > 0
    place = table["columns"].index("dice")
    np.testing.assert_allclose([line[place] for line in table["data"]], scores["dice"])


def test_the_summary_compares_runs(mirrored: Mirrored, drawem9: LabelSpace) -> None:
    summary = mirrored.run.summary
    scores = read_scores(mirrored.folder / "scores.csv")
    record = json.loads((mirrored.folder / "run.json").read_text())
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


def test_the_card_is_a_page_and_an_artefact(mirrored: Mirrored) -> None:
    (row,) = (row for row in mirrored.run.history if "run_card" in row)
    page = mirrored.files[row["run_card"]["path"]].decode()
    assert "Limits of use" in page
    assert "run-card" in mirrored.run.artifacts.values()


def test_nothing_but_the_run_is_in_the_folder_of_the_sweep(mirrored: Mirrored) -> None:
    assert [path.name for path in mirrored.folder.parent.iterdir()] == ["job"]
    assert len(list((mirrored.folder / "wandb").glob("offline-run-*"))) == 1
