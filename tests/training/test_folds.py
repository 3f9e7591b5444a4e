"""A run of folds: nobody is judged by a network that has seen them; and an audit of such a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from tiny_run import train

from neoseg.audit.__main__ import main as audit
from neoseg.cohort import Assignment
from neoseg.cohort.annotation import read_plan
from neoseg.cohort.folds import fold_of_each, without_fold
from neoseg.configuration.run import RunConfig
from neoseg.files import write_bytes
from neoseg.findings.problems import CohortError
from neoseg.patches.datamodule import MixedDataModule
from neoseg.runs.folds import held_out
from neoseg.training.recipe import RecipeSettings, stages_of

SHORT = (
    *("recipe=folds", "recipe.folds=2", "split.fractions=[0.8,0,0.2]", "trainer.max_epochs=1"),
    *("patches.steps_per_epoch=1", "pictures=0", "score=true"),
)


def test_stages_leave_out_each_fold_and_end_with_all() -> None:
    stages = stages_of(RecipeSettings(kind="folds", folds=3, epochs=2))
    assert [(s.name, s.fold, s.epochs, s.last) for s in stages] == [
        *(("1", 0, 2, False), ("2", 1, 2, False), ("3", 2, 2, False)),
        ("4", None, None, True),
    ]
    with pytest.raises(ValueError, match="recipe folds has no rounds; use recipe=pseudo_label"):
        RecipeSettings(kind="folds", rounds=2)


def test_subjects_are_dealt_out_those_in_full_first(
    configured: Callable[..., DictConfig],
) -> None:
    run = RunConfig.parse(configured("partial_superclass", *SHORT, "annotation.full_fraction=0.5"))
    plan = run.plan()
    folds = fold_of_each(plan, 2)
    full = {a.subject for a in plan.assignments if (a.split, a.stream) == ("train", "full")}
    counts = [sum(folds[s] == fold for s in full) for fold in (0, 1)]
    assert abs(counts[0] - counts[1]) <= 1
    left = [without_fold(plan, folds, fold) for fold in (0, 1)]
    seen = [{a.subject for a in p.assignments if a.split == "train"} for p in left]
    assert seen[0].isdisjoint(seen[1])
    assert seen[0] | seen[1] == set(folds)
    assert [len(p.of_split("test")) for p in left] == [len(plan.of_split("test"))] * 2
    assert any(fold_of_each(plan, 2, draw) != folds for draw in range(1, 9))
    with pytest.raises(CohortError, match=r"is 9, and \d subjects are for training"):
        fold_of_each(plan, 9)


def test_one_person_of_two_cohorts_is_in_one_fold() -> None:
    items = [Assignment(str(n), None, "train", "full", "full", "b") for n in range(1, 7)]
    items += [Assignment(f"{n:02}", None, "train", "full", "full", "a") for n in range(1, 7)]
    plan: Any = SimpleNamespace(assignments=items)
    folds = fold_of_each(plan, 3)
    assert len(folds) == 12
    assert all(folds[str(n)] == folds[f"{n:02}"] for n in range(1, 7))
    # Within a cohort they are two people; all others stay where they were.
    plan.assignments = [replace(item, cohort="a") for item in items]
    apart = fold_of_each(plan, 3)
    assert any(apart[str(n)] != apart[f"{n:02}"] for n in range(1, 7))
    assert all(apart[str(n)] == folds[str(n)] for n in range(1, 7))


def test_a_run_of_folds_and_its_audit(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learnt_from: list[set[str]] = []
    setup = MixedDataModule.setup

    def watched(data: MixedDataModule, stage: str | None = None) -> None:
        setup(data, stage)
        learnt_from.append({scan.entry.scan.subject for scan in data.train})

    monkeypatch.setattr(MixedDataModule, "setup", watched)
    config = configured("full_supervision", *SHORT)
    train(config, tmp_path)
    run = RunConfig.parse(config)
    trained = {a.subject for a in read_plan(tmp_path / "annotation.csv") if a.split == "train"}
    scores = pd.read_csv(tmp_path / "oof_scores.csv", dtype={"subject": str})
    judged = [set(part["subject"]) for _, part in scores.groupby("fold")]
    assert learnt_from == [trained - judged[0], trained - judged[1], trained]
    assert judged[0] | judged[1] == trained
    assert all(len(part) for part in judged)
    for stage, parts in held_out(run.recipe, run.plan()):
        assert {s.subject for part in parts for s in part.scans} == judged[int(stage.name) - 1]

    # Interrupted at the end: what is there is kept.
    (tmp_path / "run.json").unlink()
    kept = [tmp_path / "stages" / n / "scores.csv" for n in ("1", "2")]
    times = [path.stat().st_mtime_ns for path in kept]
    train(config, tmp_path)
    assert [path.stat().st_mtime_ns for path in kept] == times

    # What was scored with other label files is scored again.
    (tmp_path / "run.json").unlink()
    inputs = kept[0].with_name("evaluation.json")
    before = json.loads(inputs.read_text())
    inputs.write_text(json.dumps(before | {"files": "0"}))
    train(config, tmp_path)
    assert kept[0].stat().st_mtime_ns > times[0]
    assert kept[1].stat().st_mtime_ns == times[1]
    assert json.loads(inputs.read_text()) == before

    GlobalHydra.instance().clear()
    arguments = ["audit", f"run={tmp_path}", "device=cpu", "score=0.01", "most=1"]
    pictures = tmp_path / "audit" / "pictures"
    for earlier in (False, True):  # the second time from what was measured
        for name in ("sub-1.png", "007.png"):  # of somebody else, unless an audit was there
            write_bytes(pictures / name, b"")
        monkeypatch.setattr(sys, "argv", arguments)
        audit()
        GlobalHydra.instance().clear()
        assert (pictures / "007.png").exists() != earlier
        assert (pictures / "sub-1.png").exists()
    found = pd.read_csv(tmp_path / "audit" / "findings.tsv", sep="\t", dtype={"subject": str})
    assert set(found["subject"]) <= {scan.subject for scan in run.plan().sources[0].cohort.scans}
    assert len(found)
    assert found["score"].is_monotonic_decreasing
    assert (tmp_path / "audit" / "index.html").read_text().count("<img ") == 1
    assert len(list((tmp_path / "audit" / "measures").rglob("*.json"))) >= len(trained)
