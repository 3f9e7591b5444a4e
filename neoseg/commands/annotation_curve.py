"""What more annotations should bring: a curve through finished runs, and a plan's place on it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neoseg.cohort.annotation import FULL, UNLABELLED
from neoseg.cohort.table import write_rows
from neoseg.evaluation.budget import protocol_counts
from neoseg.evaluation.report.arms import MEAN_OF_LEAVES, with_arms
from neoseg.evaluation.report.collect import collect
from neoseg.evaluation.report.style import WIDTH, legend_above, new_figure, plain_text, tidy
from neoseg.files import replacing
from neoseg.findings.settings import ConfigError
from neoseg.trust.learning_curve import LearningCurve

log = logging.getLogger(__name__)

MORE = (1, 2, 5, 10, 20, 50, 100)
COLUMNS = ("labels", "worth_in_full", "dice", "low", "high", "gain", "gain_low", "gain_high")
LEVEL = 0.95


@dataclass(frozen=True)
class Trained:
    """What runs were trained on, and what they reach.

    Attributes:
        depths: names of annotations, full first.
        counts: `[N, D]`, training scans annotated so.
        dice: `[N]`, mean over structures and the test scans that all runs have.
        scans: how many those are.
    """

    depths: tuple[str, ...]
    counts: np.ndarray
    dice: np.ndarray
    scans: int


def counts_of(run: Path) -> Counter[str]:
    """Return how many training scans of a run are annotated how."""
    found = Counter[str]()
    for row in protocol_counts(run / "annotation.csv"):
        if row["split"] == "train" and row["stream"] != UNLABELLED:
            found[FULL if row["stream"] == FULL else row["protocol"]] += row["scans"]
    return found


def read_trained(folder: Path) -> Trained:
    """Read the finished runs below a folder; raises `ReportError` or `ConfigError`."""
    collected = collect(folder)
    frame = with_arms(collected.scores)
    names = set(frame["experiment"].str.partition(",")[0])
    if len(names) > 1:
        log.warning("the curve takes %s for one way to train", ", ".join(sorted(names)))
    frame = frame[frame["abbreviation"] == MEAN_OF_LEAVES]
    table = frame.pivot_table(index=["subject", "session"], columns="run", values="dice").dropna()
    annotated = {run.name: counts_of(run.path) for run in collected.runs}
    used = [name for name in table.columns if annotated.get(name)]
    if table.empty or not used:
        raise ConfigError(
            f"the runs below {folder} have no test scan in common, or none tells what it was "
            "trained on (annotation.csv)"
        )
    depths = dict.fromkeys((FULL, *(depth for name in used for depth in annotated[name])))
    counts = np.array([[annotated[name][depth] for depth in depths] for name in used], dtype=float)
    return Trained(tuple(depths), counts, table[used].mean().to_numpy(), len(table))


def learn(folder: Path) -> tuple[Trained, LearningCurve]:
    """Return the runs below a folder, and a curve through them; raises as `read_trained`."""
    trained = read_trained(folder)
    try:
        return trained, LearningCurve.fit(trained.depths, trained.counts, trained.dice)
    except ValueError as error:
        raise ConfigError(f"no curve through the runs below {folder}: {error}") from None


def worth_of(trained: Trained, curve: LearningCurve) -> dict[str, float]:
    """Return what coarse annotations are worth in full ones, of depths in which the runs differ."""
    middle = np.median(curve.worth, axis=0)
    pairs = zip(curve.depths, trained.counts.T, middle, strict=True)
    return {name: float(value) for name, own, value in pairs if name != FULL and np.ptp(own) > 0}


def write_curve(
    trained: Trained,
    curve: LearningCurve,
    output: Path,
    now: Mapping[str, int],
    after: Mapping[str, int],
    pool: int,
) -> list[str]:
    """Write curve.tsv and curve.png; return lines that tell of them.

    Args:
        trained: the runs that the curve was learnt from.
        curve: through them.
        output: where to write.
        now: scans by how they are annotated.
        after: the same, after the plan.
        pool: scans that may be annotated: no more are told of.
    """
    strange = sorted({name for name in (*now, *after) if name not in curve.depths})
    if strange:
        log.warning("no run of the curve has %s: counted as nothing there", ", ".join(strange))
    cases = [("now", now), ("plan", after)] + [
        (f"{n} more {depth}", dict(now) | {depth: now.get(depth, 0) + n})
        for depth in curve.depths
        for n in MORE
        if n <= pool
    ]
    table = [[case.get(depth, 0) for depth in curve.depths] for _, case in cases]
    counts = np.array(table, dtype=float)
    amounts = np.median(curve.amount(counts), axis=0)
    predicted, gained = curve.predict(counts, LEVEL), curve.gain(counts, counts[0], LEVEL)
    rows = [
        [name, f"{amount:.3g}", *(f"{value:.4f}" for value in (*dice, *gain))]
        for (name, _), amount, dice, gain in zip(cases, amounts, predicted, gained, strict=True)
    ]
    write_rows(output / "curve.tsv", COLUMNS, rows)
    _draw(output / "curve.png", curve, trained, amounts, predicted)
    worth = np.quantile(curve.worth, (0.5, 0.025, 0.975), axis=0).T
    return [
        f"Dice with the labels that are there: {_interval(predicted[0], 3)}",
        f"what the plan should add: {_interval(gained[1], 4)}",
        *(
            f"{name} is worth {_interval(values, 2)} of a full annotation"
            for name, values in zip(curve.depths[1:], worth[1:], strict=True)
        ),
        f"learnt from {len(trained.dice)} runs; mean over structures and {trained.scans} scans",
    ]


def _interval(values: np.ndarray, digits: int) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low} to {high})"


def _draw(
    path: Path,
    curve: LearningCurve,
    trained: Trained,
    amounts: np.ndarray,
    predicted: np.ndarray,
) -> None:
    """Draw Dice against what the labels are worth in full annotations."""
    own = np.median(curve.amount(trained.counts), axis=0)
    seen = np.log10([*own, *amounts])
    line = np.zeros((100, len(curve.depths)))
    line[:, 0] = np.logspace(seen.min(), seen.max(), 100)
    middle, low, high = curve.predict(line, LEVEL).T
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    axes.fill_between(line[:, 0], low, high, color="#c9d7ea", label="95 % of trainings")
    axes.plot(line[:, 0], middle, color="#4c72b0")
    axes.plot(own, trained.dice, ".", color="#444444", label="runs")
    for place, (name, mark) in enumerate((("now", "s"), ("plan", "D"))):
        axes.plot(amounts[place], predicted[place, 0], mark, label=plain_text(name))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("full annotations, or what is worth as much")
    axes.set_ylabel("mean Dice")
    tidy(axes, "both")
    legend_above(figure, axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def case_after(now: Mapping[str, int], moves: Sequence[tuple[str, str]]) -> Counter[str]:
    """Return the counts after scans have moved from one annotation to another."""
    found = Counter(now)
    for before, after in moves:
        found[after] += 1
        if found[before] > 0:
            found[before] -= 1
    return found
