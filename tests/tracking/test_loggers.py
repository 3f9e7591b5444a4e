"""Which loggers a configuration gives, and what TensorBoard reads back."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import DictConfig
from tiny_run import train

from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.runs import trainer as trainers
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.loggers import LoggerError
from neoseg.tracking.tensorboard import FOLDER, TensorBoardCurves
from neoseg.training.recipe import Stage

ONLY = Stage(1, True, "all", None, False)
BOTH = find_spec("tensorboard") is not None


def names(config: DictConfig, folder: Path, stage: Stage = ONLY) -> list[str]:
    return [
        type(one).__name__
        for one in trainers.stage_trainer(RunConfig.parse(config), folder, stage).loggers
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["CurveLogger", "WandbRun"]),
        (("logger=wandb",), ["CurveLogger", "WandbRun"]),
        (("logger=default",), ["CurveLogger", "WandbRun"]),
        (("logger=csv",), ["CurveLogger"]),
        (("logger.wandb.mode=disabled",), ["CurveLogger"]),
    ],
)
def test_a_configuration_chooses(
    options: tuple[str, ...],
    expected: list[str],
    configured: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    assert names(configured(*options), tmp_path) == expected


@pytest.mark.skipif(not BOTH, reason="the extra 'tensorboard' is not installed")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("logger=tensorboard",), ["CurveLogger", "TensorBoardCurves"]),
        (
            ("logger.tensorboard.enabled=true",),
            ["CurveLogger", "TensorBoardCurves", "WandbRun"],
        ),
    ],
)
def test_several_at_once(
    options: tuple[str, ...],
    expected: list[str],
    configured: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    assert names(configured(*options), tmp_path) == expected


def test_an_earlier_stage_is_a_run_of_its_own(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    run = RunConfig.parse(configured())
    first = Stage(1, False, "full", None, False)
    abouts = [
        trainers.stage_trainer(run, tmp_path, stage).loggers[-1].about for stage in (first, ONLY)
    ]
    assert [about.config["stage"] for about in abouts] == ["1", "last"]
    assert [about.name for about in abouts] == [
        "partial_superclass-draw0-seed0-stage1",
        "partial_superclass-draw0-seed0",
    ]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("logger.wandb.mode=onlin", "logger.wandb.mode = 'onlin'"),
        ("+logger.wandb.tag=x", "logger.wandb.tag = 'x'"),
        ("logger.wandb.overlays=-1", "logger.wandb.overlays = -1"),
    ],
)
def test_a_wrong_key_is_one_message(
    option: str, message: str, configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        names(configured(option), tmp_path)


def test_tensorboard_that_is_missing_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neoseg.tracking.tensorboard.find_spec", lambda _: None)
    with pytest.raises(LoggerError, match=r"pip install 'neoseg\[tensorboard\]'"):
        TensorBoardCurves(tmp_path)


@pytest.mark.slow
def test_csv_alone_starts_no_service(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def started(**_: object) -> None:
        pytest.fail("a W&B run was opened")

    monkeypatch.setattr(wandb, "init", started)
    monkeypatch.setattr(wandb, "setup", started)
    train(configured("logger=csv", "score=false"), tmp_path)
    assert len(CurveLogger(tmp_path / "metrics.csv").rows) == 6
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "wandb.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not BOTH, reason="the extra 'tensorboard' is not installed")
def test_tensorboard_reads_the_curves_of_the_table(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(configured("logger=tensorboard", "score=false"), tmp_path)
    events = EventAccumulator(str(tmp_path / FOLDER)).Reload()
    rows = CurveLogger(tmp_path / "metrics.csv").rows
    for name in ("train/loss", "val/dice", "val/dice/CSF", "lr"):
        expected = [(int(row["step"]), row[name]) for row in rows if name in row]
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in expected] != []
        assert [value for _, value in found] == pytest.approx([v for _, v in expected], rel=1e-6)


@pytest.mark.skipif(not BOTH, reason="the extra 'tensorboard' is not installed")
def test_a_resumed_training_takes_the_place_of_what_was_lost(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, stop, value in ((0, 6, 1.0), (3, 5, 2.0)):
        logger = TensorBoardCurves(tmp_path)
        logger.rewind(start)
        for step in range(start, stop):
            logger.log_metrics({"a": value}, step)
        logger.finalize("success")
    events = EventAccumulator(str(tmp_path / FOLDER)).Reload().Scalars("a")
    assert [(e.step, e.value) for e in events] == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)]
    assert "hparams.yaml" not in [path.name for path in (tmp_path / FOLDER).iterdir()]
