from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from tiny_run import train

from neoseg.configuration.resume import resumed
from neoseg.findings.settings import ConfigError
from neoseg.runs import run
from neoseg.runs.effort import EFFORT
from neoseg.training.rate import HIGHEST, LOWEST, RateCurve, RateTest, running_mean


def rates(number: int = 100) -> np.ndarray:
    return np.geomspace(LOWEST, HIGHEST, number)


def valley(x: np.ndarray, best: float) -> np.ndarray:
    """A loss that stays, falls around a tenth of `best`, and rises after it."""
    fall = 1 / (1 + (x / (0.1 * best)) ** 2)
    return 0.2 + 0.8 * fall + (x / (10 * best)) ** 2


def test_the_suggestion_lies_where_the_loss_falls_before_its_minimum() -> None:
    x = rates()
    loss = valley(x, 1e-2)
    found = RateCurve(x.tolist(), loss.tolist()).suggestion
    assert found is not None
    steepest = x[int(np.argmin(np.gradient(loss, np.log(x))))]
    assert 0.7 * steepest < found < 1.4 * steepest


def test_noise_and_divergence_move_it_little() -> None:
    x = rates(200)
    loss = valley(x, 1e-2) + np.random.default_rng(0).normal(0, 0.02, x.size)
    loss[-3:] = np.nan
    found = RateCurve(x.tolist(), loss.tolist()).suggestion
    assert found is not None
    assert 2e-4 < found < 5e-3


@pytest.mark.parametrize(
    "losses", [np.linspace(1, 2, 50), np.ones(50), np.array([1.0, 2.0]), np.array([])]
)
def test_a_loss_that_never_falls_suggests_nothing(losses: np.ndarray) -> None:
    assert RateCurve(rates(len(losses)).tolist(), losses.tolist()).suggestion is None


def test_the_running_mean_has_no_bias_at_its_start() -> None:
    assert running_mean([2.0] * 5) == pytest.approx([2.0] * 5)
    assert running_mean([1.0, 2.0])[1] == pytest.approx((0.09 * 1 + 0.1 * 2) / 0.19)


def test_the_curve_ends_where_the_loss_does() -> None:
    curve = RateCurve(rates(6).tolist(), [3.0, 2.0, 1.0, float("nan"), 1.0, float("inf")])
    assert np.isfinite(curve.smooth).tolist() == [True] * 3 + [False] * 3


def test_rates_are_a_geometric_series() -> None:
    test = RateTest(50)
    found = [test.rate(step) for step in range(50)]
    assert found == pytest.approx(rates(50).tolist())


@pytest.mark.parametrize(
    "more", [(), ("trainer.accumulate_grad_batches=3", "optimizer.schedule=plateau")]
)
def test_a_run_with_find_lr_tests_rates_and_trains_nothing(
    more: tuple[str, ...], configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    settings = ("partial_mean_teacher", *more)
    train(configured(*settings, "find_lr=20"), tmp_path)
    assert (tmp_path / "learning_rate.png").stat().st_size > 1000
    with (tmp_path / "learning_rate.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["lr"]) for row in rows] == pytest.approx(rates(20)[: len(rows)].tolist())
    assert len(rows) >= 13
    record = json.loads((tmp_path / "learning_rate.json").read_text())
    assert record["steps"] == len(rows)
    assert record["suggestion"] is None or LOWEST < record["suggestion"] < HIGHEST
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not (tmp_path / "run.json").exists()
    # The folder can be trained in afterwards.
    assert resumed(tmp_path, [f"resume={tmp_path}"]).find_lr is None
    train(configured(*settings), tmp_path)
    assert (tmp_path / "run.json").is_file()


def test_a_run_that_has_started_stays_as_it_is(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    def test_rates(*more: str) -> None:
        asked = resumed(tmp_path, ["resume=x", "find_lr=20", *more])
        run.train(asked, tmp_path, resuming=True)

    train(configured("supervised"), tmp_path)
    with pytest.raises(ConfigError, match="has ended otherwise"):
        test_rates("trainer.max_epochs=9")
    (tmp_path / "run.json").unlink()
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.name != EFFORT}
    test_rates("optimizer.lr=0.1")
    (tmp_path / "learning_rate.json").unlink()
    train(configured("supervised", "find_lr=20"), tmp_path)
    assert (tmp_path / "learning_rate.json").is_file()
    assert {path: path.read_bytes() for path in kept} == kept
    with pytest.raises(ConfigError, match="was started otherwise"):
        train(configured("supervised", "find_lr=20", "seed=8"), tmp_path)


def test_the_test_repeats_itself(configured: Callable[..., DictConfig], tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(configured("supervised", "find_lr=20"), tmp_path / name)
    tables = [(tmp_path / name / "learning_rate.csv").read_text() for name in ("a", "b")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("steps", ["3", "true", "many"])
def test_too_few_steps_are_refused(
    steps: str, configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="find_lr = "):
        train(configured("supervised", f"find_lr={steps}"), tmp_path)
