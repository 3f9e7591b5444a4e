"""The finished runs below a folder as one tidy frame."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.evaluation.budget import share_of_full
from neoseg.evaluation.report.differences import differences
from neoseg.evaluation.report.run_files import FinishedRun, ReportError, read_run
from neoseg.evaluation.report.same_names import tell_apart
from neoseg.evaluation.table import SCAN
from neoseg.failure import FAILED, failure_of
from neoseg.files import find
from neoseg.foreign import read_config, value_at

log = logging.getLogger(__name__)

RUN_COLUMNS = ("experiment", "full_fraction", "draw", "seed", "run")
_NO_ARM = ("seed", "annotation.draw", "extra_cohorts.*.annotation.draw", "privacy")
_REQUIRED = ("scores.csv", "run.json")


@dataclass(frozen=True)
class Unfinished:
    """A run that the report leaves out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collected:
    """All scores, with the columns experiment, full_fraction, draw, seed and run, and the rest.

    `experiment` has how its arms differ beside its name, where there are several at one share.

    `full_fraction` and `draw` are NaN where the run's configuration has none; `run` is the
    folder relative to the one searched, the name of a finished run. Where the runs were tested on
    several cohorts, a `subject` is preceded by the name of its cohort and a slash.
    """

    scores: pd.DataFrame
    runs: tuple[FinishedRun, ...]
    unfinished: tuple[Unfinished, ...]


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories below `folder` (or itself), sorted.

    A run directory holds `config.yaml` or `run.json`, or says that the run failed before they were
    written; hidden folders such as Hydra's own are not searched.

    Raises:
        ReportError: if `folder` is not a folder or has no run.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder} is not a folder; name the one that holds the runs")
    found = sorted({path.parent for path in find(folder, ("config.yaml", "run.json", FAILED))})
    if not found:
        raise ReportError(f"{folder} has no run (a folder with config.yaml) at any depth")
    return found


def collect(
    folder: Path,
    experiments: Collection[str] | None = None,
    fractions: Collection[float] | None = None,
    ignore: Collection[str] = (),
) -> Collected:
    """Read every finished run below `folder`; an unreadable one counts as unfinished.

    Args:
        folder: holds the runs at any depth.
        experiments: only runs of these; None takes all.
        fractions: only runs with these shares of fully annotated subjects; None takes all.
        ignore: patterns of keys that make no arm of its own, beside draw and seed.

    Raises:
        ReportError: if no run is finished, the message names each run and what it lacks; if an
            experiment or a share is asked for that no run has; or if runs cannot be told apart.
    """
    wanted = _Wanted(experiments, fractions)
    frames: list[pd.DataFrame] = []
    runs: list[FinishedRun] = []
    unfinished: list[Unfinished] = []
    configs: list[dict[str, Any]] = []
    table: list[dict[str, str | float]] = []
    for path in find_runs(folder):
        missing = [name for name in _REQUIRED if not (path / name).is_file()]
        failure = failure_of(path)
        try:
            if failure is not None and not (path / "config.yaml").is_file():
                raise ReportError(f"failed: {failure}")
            config = read_config(path / "config.yaml")
            keys = _run_keys(config, path)
            if keys not in wanted:
                continue
            if missing:
                lack = f"no {' and no '.join(missing)}"
                raise ReportError(lack if failure is None else f"failed: {failure}")
            record, frame = read_run(path, config)
        except ValueError as error:
            unfinished.append(Unfinished(path, str(error)))
            log.warning("left out %s: %s", path, error)
            continue
        name = path.relative_to(folder).as_posix()
        name = path.resolve().name if name == "." else name
        keys["run"] = name
        runs.append(FinishedRun(path, name, record))
        configs.append(config)
        table.append(keys)
        frames.append(frame)
    wanted.check(folder)
    if not frames:
        listed = "\n".join(f"  {run.path}: {run.reason}" for run in unfinished)
        raise ReportError(f"{folder} has no finished run:\n{listed}")
    _name_arms(table, configs, ignore)
    for keys, changed in zip(table, tell_apart(runs, frames), strict=True):
        if changed:
            keys["experiment"] = f"{keys['experiment']}, {', '.join(changed)}"
    _refuse_twins(table)
    for frame, keys in zip(frames, table, strict=True):
        for column in {*RUN_COLUMNS, "arm"} & {*frame.columns}:
            del frame[column]
        for position, column in enumerate(RUN_COLUMNS):
            frame.insert(position, column, keys[column])
    scores = pd.concat(frames, ignore_index=True)
    if scores["cohort"].nunique() > 1:
        scores["subject"] = scores["cohort"] + "/" + scores["subject"]
    _settle(scores)
    return Collected(scores, tuple(runs), tuple(unfinished))


class _Wanted:
    """Which runs the report is about; remembers what there is, for the message."""

    def __init__(
        self, experiments: Collection[str] | None, fractions: Collection[float] | None
    ) -> None:
        self.asked = {"experiment": experiments, "full_fraction": fractions}
        self.found: dict[str, set[str | float]] = {key: set() for key in self.asked}

    def __contains__(self, keys: Mapping[str, str | float]) -> bool:
        fits = True
        for key, asked in self.asked.items():
            self.found[key].add(keys[key])
            fits = fits and (asked is None or keys[key] in asked)
        return fits

    def check(self, folder: Path) -> None:
        """Raise `ReportError` for what was asked for and no run has."""
        for key, asked in self.asked.items():
            lacking = [value for value in asked or () if value not in self.found[key]]
            if lacking:
                raise ReportError(
                    f"no run below {folder} has {key} {', '.join(map(str, lacking))}; there are "
                    + ", ".join(str(value) for value in sorted(self.found[key], key=str))
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
    for name, value in values.items():
        try:
            keys[name] = float("nan") if value is None else float(value)
        except (TypeError, ValueError):
            raise ReportError(f"{path}: {name} is {value!r}, expected a number") from None
    share = share_of_full(run, config)
    return keys | ({} if share is None else {"full_fraction": share})


def _name_arms(
    table: list[dict[str, str | float]], configs: list[dict[str, Any]], ignore: Collection[str]
) -> None:
    """Add to an experiment's name how its arms at one share differ, where there are several."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, keys in enumerate(table):
        groups.setdefault((str(keys["experiment"]), str(keys["full_fraction"])), []).append(number)
    for numbers in groups.values():
        own = differences([configs[n] for n in numbers], (*_NO_ARM, *ignore))
        for number, text in zip(numbers, own, strict=True):
            if text:
                table[number]["experiment"] = f"{table[number]['experiment']}, {text}"


def _refuse_twins(table: list[dict[str, str | float]]) -> None:
    """Raise for runs that would count as one draw of one arm."""
    known: dict[tuple[str, ...], str] = {}
    found = []
    for keys in table:
        same = tuple(str(keys[name]) for name in RUN_COLUMNS[:-1])
        if same in known:
            found.append(f"  {known[same]} and {keys['run']}")
        known.setdefault(same, str(keys["run"]))
    if found:
        raise ReportError(
            "runs with equal configuration, draw and seed, of which one would count for two:\n"
            + "\n".join(found)
            + "\nTake one of each two out of the folder, or train it with another seed= or "
            "annotation.draw="
        )


def _settle(scores: pd.DataFrame) -> None:
    """Let the first run decide where runs tell different things of a structure or a scan."""
    facts = {("abbreviation",): ("class", "is_leaf"), SCAN[1:]: ("scan_age", "age_group")}
    for keys, columns in facts.items():
        for column in columns:
            groups = scores.groupby(list(keys), sort=False)[column]
            if (groups.nunique(dropna=False) > 1).any():
                scores[column] = groups.transform("first")
                log.warning("runs differ in %s; that of the first counts", column)
