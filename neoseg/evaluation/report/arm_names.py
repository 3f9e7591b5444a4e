"""Name the arms of a report by how the configurations of their runs differ."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from neoseg.evaluation.report.differences import differences

Keys = dict[str, str | float]
"""Experiment, share of full labels, draw, seed and name of a run."""

_NOT_ARM_KEYS = ("seed", "annotation.draw", "extra_cohorts.*.annotation.draw", "privacy")

_FOLD_KEYS = ("split.*", "extra_cohorts.*.split.*", "cohort.root", "extra_cohorts.*.cohort.root")
"""Patterns of keys that may differ between the folds of a cross-validation."""


def name_arms(
    table: Sequence[Keys],
    configs: Sequence[dict[str, Any]],
    frames: Sequence[pd.DataFrame],
    ignore: Collection[str] = (),
) -> list[int]:
    """Append to the experiments in `table` how arms of one experiment at one share differ.

    Runs of an experiment that differ in the split alone, and test either the same people or none in
    common, are folds of one arm, with one share of full labels.

    Args:
        table: of each run; changed.
        configs: of each run.
        frames: scores of each run.
        ignore: patterns of keys that do not separate arms, in addition to draw and seed.

    Returns:
        The fold of each run, from 1; 0 if its experiment has none.
    """
    folds = [0] * len(table)
    for numbers in _groups(table, "experiment"):
        found = _folds([frames[n] for n in numbers])
        same = (*_NOT_ARM_KEYS, *ignore, *(_FOLD_KEYS if any(found) else ()))
        rows, own = [table[n] for n in numbers], [configs[n] for n in numbers]
        if any(found):
            _pool_shares(rows, own, same)
        for part in _groups(rows, "full_fraction"):
            for number, text in zip(part, differences([own[n] for n in part], same), strict=True):
                if text:
                    rows[number]["experiment"] = f"{rows[number]['experiment']}, {text}"
        for number, fold in zip(numbers, found, strict=True):
            folds[number] = fold
    return folds


def _groups(table: Sequence[Mapping[str, Any]], key: str) -> list[list[int]]:
    """Return the positions of the rows with each value of a key, NaN being one."""
    groups: dict[str, list[int]] = {}
    for number, keys in enumerate(table):
        groups.setdefault(str(keys[key]), []).append(number)
    return list(groups.values())


def _folds(frames: Sequence[pd.DataFrame]) -> list[int]:
    """Return the fold of each run, from 1; 0 if some test the same people, but not all."""
    tested = [
        frozenset(frame[["cohort", "subject"]].itertuples(index=False, name=None))
        for frame in frames
    ]
    distinct = list(dict.fromkeys(tested))
    if len(distinct) < 2 or len(frozenset().union(*distinct)) < sum(map(len, distinct)):
        return [0] * len(frames)
    return [1 + distinct.index(people) for people in tested]


def _pool_shares(
    table: Sequence[Keys], configs: Sequence[dict[str, Any]], same: Collection[str]
) -> None:
    """Give the folds of an arm one share of full labels, as named people fall unevenly into them.

    `same` are patterns of keys that do not separate arms of the experiment.
    """
    texts = [{"text": text} for text in differences(configs, same)]
    for numbers in _groups(texts, "text"):
        shares = pd.Series([float(table[number]["full_fraction"]) for number in numbers])
        if shares.nunique() > 1:
            for number in numbers:
                table[number]["full_fraction"] = round(float(shares.mean()), 3)
