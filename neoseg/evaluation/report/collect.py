"""Collect the finished runs below a folder into one tidy frame."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.evaluation.budget import share_of_full
from neoseg.evaluation.people import people_of
from neoseg.evaluation.report.arm_names import name_arms
from neoseg.evaluation.report.one_training import same_trainings
from neoseg.evaluation.report.run_files import FinishedRun, ReportError, read_run
from neoseg.evaluation.report.same_names import tell_apart
from neoseg.evaluation.table import SCAN
from neoseg.failure import FAILED, failure_of
from neoseg.files import find
from neoseg.foreign import read_config, value_at

log = logging.getLogger(__name__)

LONGEST_NAME = 200
"""Largest length of an experiment's name in letters; pictures take minutes for longer ones."""

RUN_COLUMNS = ("experiment", "full_fraction", "draw", "seed", "run")
_REQUIRED = ("scores.csv", "run.json")


@dataclass(frozen=True)
class Unfinished:
    """A run that the report leaves out, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collected:
    """The scores of all finished runs, these runs, and the unfinished ones.

    `scores` starts with the columns experiment, full_fraction, draw, seed and run. If an
    experiment has several arms at one share, `experiment` also states how they differ.
    Runs that differ in the split alone and have no test person in common are folds of one arm.
    `full_fraction` and `draw` are NaN if the run's configuration has none; `run` is the name of the
    run, its folder relative to the searched one. `repeated` are groups of runs that are one
    training each; these have the draw of the first of them, so that they count once. If the runs
    were tested on several cohorts, `subject` is prefixed with "cohort/". `person` is as
    from `people_of`.
    """

    scores: pd.DataFrame
    runs: tuple[FinishedRun, ...]
    unfinished: tuple[Unfinished, ...]
    repeated: tuple[tuple[str, ...], ...] = ()


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories below `folder` (or itself), sorted.

    A run directory holds `config.yaml`, `run.json` or the record of a failure; hidden folders such
    as Hydra's are not searched.

    Raises:
        ReportError: if `folder` is not a folder or has no run.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder} is not a folder; name the one that holds the runs")
    runs = sorted({path.parent for path in find(folder, ("config.yaml", "run.json", FAILED))})
    if not runs:
        raise ReportError(f"{folder} has no run (a folder with config.yaml) at any depth")
    return runs


def collect(
    folder: Path,
    experiments: Collection[str] | None = None,
    fractions: Collection[float] | None = None,
    ignore: Collection[str] = (),
) -> Collected:
    """Read every finished run below `folder`; unreadable runs count as unfinished.

    Args:
        folder: contains the runs at any depth.
        experiments: experiments to read; None reads all.
        fractions: shares of fully annotated subjects to read; None reads all.
        ignore: patterns of keys that do not separate arms, in addition to draw and seed.

    Raises:
        ReportError: if no run is finished (the message names each run and what it lacks), if no
            run has a requested experiment or share, or if two runs have equal configuration, draw
            and seed.
    """
    requested = {"experiment": experiments, "full_fraction": fractions}
    every: list[dict[str, str | float]] = []
    finished: list[_Finished] = []
    unfinished: list[Unfinished] = []
    for path in find_runs(folder):
        try:
            config = _config_of(path)
            every.append(keys := _run_keys(config, path))
            if all(wanted is None or keys[key] in wanted for key, wanted in requested.items()):
                finished.append(_read(path, folder, config, keys))
        except ValueError as error:
            unfinished.append(Unfinished(path, str(error)))
            log.warning("left out %s: %s", path, error)
    _require_present(requested, every, folder)
    if not finished:
        listed = "\n".join(f"  {run.path}: {run.reason}" for run in unfinished)
        raise ReportError(f"{folder} has no finished run:\n{listed}")
    runs, frames = tuple(run.run for run in finished), [run.frame for run in finished]
    table = [run.keys for run in finished]
    configs = [run.config for run in finished]
    folds = name_arms(table, configs, frames, ignore)
    for keys, changed in zip(table, tell_apart(runs, configs, frames), strict=True):
        if changed:
            keys["experiment"] = f"{keys['experiment']}, {', '.join(changed)}"
    _require_distinct(table, folds)
    repeated = same_trainings([run.path for run in runs], configs)
    for first, *others in repeated:
        for number in others:
            table[number]["draw"] = table[first]["draw"]
    scores = _joined(frames, table, configs)
    _unify_facts(scores)
    groups = tuple(tuple(runs[number].name for number in group) for group in repeated)
    return Collected(scores, runs, tuple(unfinished), groups)


@dataclass(frozen=True)
class _Finished:
    """A finished run: its configuration, its values of `RUN_COLUMNS`, and its scores."""

    run: FinishedRun
    config: dict[str, Any]
    keys: dict[str, str | float]
    frame: pd.DataFrame


def _config_of(path: Path) -> dict[str, Any]:
    """Return the configuration of a run; raises `ValueError` if it has none that can be read."""
    failure = failure_of(path)
    if failure is not None and not (path / "config.yaml").is_file():
        raise ReportError(f"failed: {failure}")
    return read_config(path / "config.yaml")


def _read(
    path: Path, folder: Path, config: dict[str, Any], keys: dict[str, str | float]
) -> _Finished:
    """Read a run below `folder`.

    Raises:
        ValueError: if it is not finished, or a file cannot be read.
    """
    missing = [name for name in _REQUIRED if not (path / name).is_file()]
    if missing:
        reason = (
            "no scores: trained with score=false, or no test scan has labels"
            if (path / "run.json").is_file()
            else f"no {' and no '.join(missing)}"
        )
        failure = failure_of(path)
        raise ReportError(reason if failure is None else f"failed: {failure}")
    record, frame = read_run(path, config)
    name = path.relative_to(folder).as_posix()
    name = path.resolve().name if name == "." else name
    return _Finished(FinishedRun(path, name, record), config, keys | {"run": name}, frame)


def _joined(
    frames: list[pd.DataFrame],
    table: list[dict[str, str | float]],
    configs: list[dict[str, Any]],
) -> pd.DataFrame:
    """Return the scores of all runs in one frame that begins with `RUN_COLUMNS`."""
    for frame, keys, config in zip(frames, table, configs, strict=True):
        for column in {*RUN_COLUMNS, "arm"} & {*frame.columns}:
            del frame[column]
        frame["person"] = people_of(frame, config)
        for position, column in enumerate(RUN_COLUMNS):
            frame.insert(position, column, keys[column])
    scores = pd.concat(frames, ignore_index=True)
    if scores["cohort"].nunique() > 1:
        scores["subject"] = scores["cohort"] + "/" + scores["subject"]
        scores["person"] = scores.groupby("subject")["person"].transform("min")
    else:
        scores["person"] = scores["subject"]
    return scores


def _require_present(
    requested: Mapping[str, Collection[str | float] | None],
    every: list[dict[str, str | float]],
    folder: Path,
) -> None:
    """Raise `ReportError` for requested values of keys that no run has."""
    for key, wanted in requested.items():
        available = {keys[key] for keys in every}
        missing = [value for value in wanted or () if value not in available]
        if missing:
            raise ReportError(
                f"no run below {folder} has {key} {', '.join(map(str, missing))}; there are "
                + ", ".join(str(value) for value in sorted(available, key=str))
            )


def _run_keys(config: dict[str, Any], run: Path) -> dict[str, str | float]:
    path = run / "config.yaml"
    values = {
        "experiment": value_at(config, "name"),
        "full_fraction": value_at(config, "annotation.full_fraction"),
        "draw": value_at(config, "annotation.draw"),
        "seed": value_at(config, "seed"),
    }
    if not values["experiment"]:
        raise ReportError(f"{path} has no key 'name', expected the name of the experiment")
    keys: dict[str, str | float] = {"experiment": str(values.pop("experiment"))}
    if len(str(keys["experiment"])) > LONGEST_NAME:
        raise ReportError(f"{path}: name has more than {LONGEST_NAME} letters")
    for name, value in values.items():
        try:
            keys[name] = float("nan") if value is None else float(value)
        except (TypeError, ValueError):
            raise ReportError(f"{path}: {name} is {value!r}, expected a number") from None
    share = share_of_full(run, config)
    return keys | ({} if share is None else {"full_fraction": share})


def _require_distinct(table: list[dict[str, str | float]], folds: list[int]) -> None:
    """Raise `ReportError` for runs that would count as the same draw of the same arm and fold."""
    first_run: dict[tuple[str, ...], str] = {}
    duplicates = []
    for keys, fold in zip(table, folds, strict=True):
        key = (*(str(keys[name]) for name in RUN_COLUMNS[:-1]), str(fold))
        if key in first_run:
            duplicates.append(f"  {first_run[key]} and {keys['run']}")
        first_run.setdefault(key, str(keys["run"]))
    if duplicates:
        raise ReportError(
            "runs with equal configuration, draw and seed, of which one would count for two:\n"
            + "\n".join(duplicates)
            + "\nTake one of each two out of the folder, or train it with another seed= or "
            "annotation.draw="
        )


def _unify_facts(scores: pd.DataFrame) -> None:
    """Use the first run's values if runs disagree about a structure or a scan; log a warning."""
    facts = {("abbreviation",): ("class", "is_leaf"), SCAN[1:]: ("scan_age", "age_group")}
    for keys, columns in facts.items():
        for column in columns:
            groups = scores.groupby(list(keys), sort=False)[column]
            if (groups.nunique(dropna=False) > 1).any():
                scores[column] = groups.transform("first")
                log.warning("runs differ in %s; that of the first counts", column)
