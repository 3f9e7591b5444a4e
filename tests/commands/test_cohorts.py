"""A run of three cohorts, from the configuration to its files, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from tiny_run import train

from neoseg.cohort import CohortError, Plan
from neoseg.cohort.annotation import read_plan
from neoseg.configuration.run import RunConfig
from neoseg.evaluate import main as evaluate
from neoseg.evaluation import scoring
from neoseg.evaluation.table import read_scores
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelError
from neoseg.runs.folder import claimed
from neoseg.store import DataError

SMALL = [
    "patches.batch_size=3",
    *(f"extra_cohorts.{name}.cohort.phantom.subjects=3" for name in ("clinic", "archive")),
    *(f"extra_cohorts.{name}.cohort.phantom.spacing=4.0" for name in ("clinic", "archive")),
]


@pytest.fixture(scope="module")
def whole() -> dict[str, Path]:
    """The run, once it has been made."""
    return {}


@pytest.fixture
def run(
    compose_train: Callable[..., DictConfig],
    whole: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    if not whole:
        folder = tmp_path_factory.mktemp("run")
        train(compose_train("+experiment=several_cohorts", *SMALL), folder)
        whole["run"] = folder
    return whole["run"]


def planned(config: DictConfig) -> Plan:
    return RunConfig.parse(config).plan()


@pytest.mark.slow
def test_tables_name_the_cohort(run: Path) -> None:
    plan = read_plan(run / "annotation.csv")
    streams = {
        name: {item.stream for item in plan if item.cohort == name and item.split == "train"}
        for name in ("phantom", "clinic", "archive")
    }
    assert streams["clinic"] == {"partial"}
    assert streams["archive"] == {"unlabelled"}
    assert streams["phantom"] == {"full", "partial"}
    assert {item.split for item in plan if item.cohort == "archive"} == {"train"}
    assert (run / "split.csv").read_text().startswith("cohort,subject")
    scores = read_scores(run / "scores.csv")
    assert set(scores["cohort"]) == {"phantom", "clinic"}
    # Its label files tell fluid as one: neither part can be scored.
    clinic = scores[scores["cohort"] == "clinic"]
    assert not {"CSF", "VENT"} & set(clinic["abbreviation"])
    assert {"WM", "TCV"} <= set(clinic["abbreviation"])


@pytest.mark.slow
def test_files_of_further_cohorts_lie_apart(run: Path) -> None:
    own = run / "cohorts" / "clinic"
    for folder in (run, own):
        assert len(list((folder / "segmentations").rglob("*_dseg.nii.gz"))) > 0
        assert len(list((folder / "views").glob("*.npz"))) > 0
    assert not (run / "cohorts" / "archive").exists()
    record = json.loads((run / "run.json").read_text())
    assert set(record["annotation"]["cohorts"]) == {"phantom", "clinic", "archive"}
    card = json.loads((run / "card.json").read_text())
    assert card["data"]["cohort"] == ["phantom", "archive", "clinic"]


@pytest.mark.slow
def test_an_interrupted_evaluation_is_not_taken_for_a_finished_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not after the first cohort, nor if it fails before the first scan is scored."""
    scored: list[str] = []
    score = scoring.score_frame

    def count(*arguments: Any, **options: Any) -> Any:
        if len(scored) == stop_after:
            raise KeyboardInterrupt
        scored.append(options["subject"])
        return score(*arguments, **options)

    def start(*more: str, stopped: bool = False) -> None:
        scored.clear()
        GlobalHydra.instance().clear()
        arguments = [f"run='{run}'", f"output={tmp_path}", "device=cpu", "pictures=0", *more]
        monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
        with pytest.raises(SystemExit) if stopped else nullcontext():
            evaluate()

    monkeypatch.setattr(scoring, "score_frame", count)
    expected = read_scores(run / "scores.csv")
    scans = expected.drop_duplicates(["cohort", "subject", "session"])
    first = int((scans["cohort"] == "phantom").sum())
    stop_after = first  # before the first scan of the second cohort
    start(stopped=True)
    stop_after = -1
    start()
    assert len(scored) == len(scans) - first
    assert read_scores(tmp_path / "scores.csv")["dice"].equals(expected["dice"])
    start()
    assert not scored

    stop_after = 0
    other = ("overwrite=true", "scoring.nsd_tolerance=20")
    start(*other, stopped=True)
    assert not (tmp_path / "scores.csv").exists()
    stop_after = -1
    start(*other)
    assert len(scored) == len(scans)


@pytest.mark.slow
def test_two_evaluations_never_share_a_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    GlobalHydra.instance().clear()
    arguments = [f"run='{run}'", f"output={tmp_path}", "device=cpu", "pictures=0"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    monkeypatch.setattr("neoseg.runs.folder._LOCK_TIMEOUT", 0.0)
    with claimed(tmp_path), pytest.raises(SystemExit):
        evaluate()
    assert f"another process is working in {tmp_path}" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "evaluation.json").exists()


@pytest.mark.slow
def test_evaluate_scores_all_cohorts_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    GlobalHydra.instance().clear()
    arguments = [f"run='{run}'", f"output={tmp_path}", "device=cpu", "pictures=0"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    evaluate()
    first, again = read_scores(run / "scores.csv"), read_scores(tmp_path / "scores.csv")
    keys = ["cohort", "subject", "session", "abbreviation"]
    assert first[keys].equals(again[keys])
    assert first["dice"].equals(again["dice"])
    # Started again, nothing is scored that is there; with another number of pictures it is.
    for more, scored in (("device=cpu", False), ("pictures=1", True)):
        before = (tmp_path / "scores.csv").stat().st_mtime_ns
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["evaluate", *arguments, more])
        evaluate()
        assert ((tmp_path / "scores.csv").stat().st_mtime_ns > before) == scored


@pytest.mark.slow
def test_an_interrupted_run_goes_on(run: Path, compose_train: Callable[..., DictConfig]) -> None:
    plan, scores = (run / "annotation.csv").read_text(), read_scores(run / "scores.csv")
    (run / "run.json").unlink()  # as if killed while scoring
    train(compose_train("+experiment=several_cohorts", *SMALL), run)
    assert (run / "annotation.csv").read_text() == plan
    assert read_scores(run / "scores.csv")["dice"].equals(scores["dice"])


@pytest.mark.slow
def test_pseudo_labels_of_all_cohorts(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_train(
        "+experiment=several_cohorts", *SMALL, "recipe=pseudo_label", "score=false"
    )
    train(config, tmp_path)
    plan = [item for item in read_plan(tmp_path / "annotation.csv") if item.split == "train"]
    codes = tmp_path / "stages" / "2" / "codes"
    for name, root in (("phantom", codes), ("archive", codes / "cohorts" / "archive")):
        left_open = [a for a in plan if a.cohort == name and a.stream != "full"]
        assert len(list(root.glob("sub-*"))) == len(left_open) > 0
    assert len(list((codes / "cohorts" / "clinic").glob("sub-*"))) > 0
    shown = tmp_path / "pseudo_labels" / "cohorts" / "archive"
    assert len(list(shown.rglob("*_dseg.nii.gz"))) > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["+extra_cohorts.phantom={cohort: ${cohort}}"], CohortError, "name of two cohorts"),
        (
            ["+extra_cohorts.b={cohort: {root: /x}}"],
            ConfigError,
            r"extra_cohorts\.b\.cohort\._target_",
        ),
        (
            ["+cohort@extra_cohorts.b.cohort=bids", "extra_cohorts.b.cohort.root=/nowhere"],
            CohortError,
            r"extra_cohorts\.b: .*[\s\S]*/nowhere: is not a folder",
        ),
        (["+extra_cohorts.b={cohort: {}, wait: 1}"], ConfigError, r"extra_cohorts\.b\.wait"),
        (["+extra_cohorts.b={cohort: {}, weight: -1}"], ConfigError, r"extra_cohorts\.b\.weight"),
        (["cohort_weight=0"], ConfigError, "cohort_weight = 0: .* greater than 0"),
        (
            [
                "+cohort@extra_cohorts.b.cohort=phantom",
                "extra_cohorts.b.cohort.phantom.subjects=6",
                "extra_cohorts.b.cohort.phantom.spacing=4.0",
                "+extra_cohorts.b.annotation={protocol: {name: p, merge: [cortex]}}",
            ],
            LabelError,
            "cortex",
        ),
        (
            [
                "+cohort@extra_cohorts.b.cohort=phantom",
                "extra_cohorts.b.cohort.phantom.subjects=6",
                "extra_cohorts.b.cohort.phantom.spacing=4.0",
                "extra_cohorts.b.cohort.modalities=[T2w,T1w]",
            ],
            CohortError,
            r"extra_cohorts\.b: cohort 'b' does not fit the run",
        ),
    ],
)
def test_what_cannot_be(
    compose_train: Callable[..., DictConfig],
    options: list[str],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        planned(compose_train(*options))


def test_a_cohort_without_a_modality_fits_where_it_is_filled_in(
    compose_train: Callable[..., DictConfig],
) -> None:
    extra = [
        "+cohort@extra_cohorts.b.cohort=phantom",
        "extra_cohorts.b.cohort.phantom.subjects=6",
        "extra_cohorts.b.cohort.phantom.spacing=4.0",
    ]
    annotated = planned(compose_train("cohort.modalities=[T2w,T1w]", *extra))
    assert annotated.modalities == ("T2w", "T1w")
    assert {scan.images[1] for scan in annotated.sources[1].cohort.scans} == {None}
    without = ["cohort.modalities=[T2w,T1w]", "cohort.phantom.t1w_missing_share=1"]
    annotated = planned(
        compose_train(*without, *extra, "extra_cohorts.b.cohort.modalities=[T2w,T1w]")
    )
    assert {scan.images[1] for scan in annotated.sources[0].cohort.scans} == {None}
    with pytest.raises(CohortError, match="none of 14 scans has T1w"):
        planned(compose_train(*without, *extra))
    policy = "missing_modality.policy=require"
    both = ["cohort.modalities=[T2w,T1w]", "cohort.require_modalities=true"]
    with pytest.raises(CohortError, match="'b' lacks images"):
        planned(compose_train(*both, policy, *extra))


def test_a_cohort_that_shows_what_another_hides_stops_a_run_that_has_not_begun(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    again = "extra_cohorts.again.cohort"
    same = (f"+cohort@{again}=phantom", again + ".phantom=${cohort.phantom}")
    config = compose_train("annotation=superclass", "annotation.full_fraction=0.2", *same)
    with pytest.raises(DataError, match=r"cohort 'again' has \d+ images that cohort 'phantom' has"):
        train(config, tmp_path)
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
    with pytest.raises(ConfigError, match=r"last\.ckpt"):  # is resumed, as far as that goes
        train(config, tmp_path)
