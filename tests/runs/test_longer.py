"""Trainings that were too short, and the line with which they go on."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from neoseg.configuration.run import RunConfig
from neoseg.runs.longer import advise_on_length, ended_by_time, goes_on, rise
from neoseg.training.recipe import RecipeSettings

SINGLE = RecipeSettings(kind="single")


def run(epochs: int, max_time: str | None = None, recipe: RecipeSettings = SINGLE) -> RunConfig:
    trainer = SimpleNamespace(max_epochs=epochs, max_time=max_time, accumulate_grad_batches=2)
    content = {"allow": (), "trainer": trainer, "early_stopping": None, "recipe": recipe}
    patches = SimpleNamespace(steps_per_epoch=3)
    return cast(RunConfig, SimpleNamespace(**content, patches=patches))


def curve(folder: Path, values: list[float]) -> None:
    rows = "".join(f"{n},{n},{value}\n" for n, value in enumerate(values))
    (folder / "metrics.csv").write_text(f"epoch,step,val/dice\n{rows}")


def test_a_rise_is_that_of_the_last_fifth() -> None:
    assert rise([0.1, 0.5, 0.9]) == 0  # too few to say
    assert rise([0.1, 0.2, 0.3, 0.5]) == pytest.approx(0.2)
    assert rise([*[0.0] * 6, 0.2, 0.4, 0.5, 0.5]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "told"), [([0.1, 0.3, 0.5, 0.6, 0.7], True), ([0.3, 0.6, 0.7, 0.71, 0.712], False)]
)
def test_a_training_that_still_rises_says_how_it_goes_on(
    values: list[float], told: bool, tmp_path: Path, caplog: Any
) -> None:
    curve(tmp_path, values)
    with caplog.at_level(logging.WARNING):
        advise_on_length(run(5), tmp_path, 5)
    line = f"python -m neoseg.train resume={tmp_path} trainer.max_epochs=10"
    assert (line in caplog.text) is told


def test_a_training_out_of_time_says_so(tmp_path: Path, caplog: Any) -> None:
    advise_on_length(run(5, "00:01:00:00"), tmp_path, 3)
    assert "after 3 of 5 epochs" in caplog.text
    assert f"resume={tmp_path} trainer.max_time=null" in caplog.text


def test_a_last_training_of_fewer_epochs_is_not_cut_short(tmp_path: Path, caplog: Any) -> None:
    short = RecipeSettings.model_validate({"kind": "pseudo_label", "epochs": 3})
    curve(tmp_path, [0.1, 0.3, 0.5, 0.6, 0.7])
    advise_on_length(run(5, "01:00:00:00", short), tmp_path, 3)
    assert not caplog.records
    advise_on_length(run(5, "01:00:00:00", short), tmp_path, 2)
    assert "after 2 of 3 epochs" in caplog.text


def test_a_run_that_has_ended_goes_on_for_more_epochs_or_time(tmp_path: Path) -> None:
    trainer = {"max_epochs": 5, "max_time": "00:01:00:00"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": trainer}))
    assert not goes_on(run(6), tmp_path)  # it has not ended
    (tmp_path / "run.json").write_text("{}")
    assert goes_on(run(6, "00:01:00:00"), tmp_path)
    assert goes_on(run(5), tmp_path)
    assert not goes_on(run(5, "00:01:00:00"), tmp_path)


def test_a_run_that_was_cut_short_is_none_of_another_time(tmp_path: Path) -> None:
    trainer = {"max_epochs": 5, "max_time": "00:01:00:00"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": trainer}))
    assert ended_by_time(run(5), tmp_path) == []  # it has not ended
    (tmp_path / "run.json").write_text('{"steps": 9}')
    (told,) = ended_by_time(run(5), tmp_path)
    assert "after 9 of 10 steps" in told
    assert told.endswith(f"python -m neoseg.train resume={tmp_path} trainer.max_time=null")
    (told,) = ended_by_time(run(5, {"hours": 2}), tmp_path)
    assert told.endswith("'trainer.max_time={hours: 2}'")
    assert ended_by_time(run(5, "00:01:00:00"), tmp_path) == []
    short = RecipeSettings.model_validate({"kind": "pseudo_label", "epochs": 4})
    assert ended_by_time(run(5, recipe=short), tmp_path) == []
    (tmp_path / "run.json").write_text('{"steps": 10}')
    assert ended_by_time(run(5), tmp_path) == []
