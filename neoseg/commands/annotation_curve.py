"""Expected Dice of further annotations, from a learning curve fitted to finished runs."""

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
from neoseg.evaluation.report.style import WIDTH, legend_above, new_figure, tidy
from neoseg.files import write_figure
from neoseg.findings.markup import figure_text
from neoseg.findings.settings import ConfigError
from neoseg.trust.learning_curve import LearningCurve

log = logging.getLogger(__name__)

ADDITIONS = (1, 2, 5, 10, 20, 50, 100)
COLUMNS = ("labels", "worth_in_full", "dice", "low", "high", "gain", "gain_low", "gain_high")
LEVEL = 0.95


@dataclass(frozen=True)
class Trained:
    """Annotations and test Dice of N finished runs.

    Attributes:
        depths: names of the D depths of annotation, full first.
        counts: `[N, D]`, number of training scans per run and depth.
        dice: `[N]`, mean over structures and the test scans that all runs have in common.
        scans: number of these test scans.
    """

    depths: tuple[str, ...]
    counts: np.ndarray
    dice: np.ndarray
    scans: int


def counts_of(run: Path) -> Counter[str]:
    """Return the number of labelled training scans of a run by depth of annotation."""
    counts = Counter[str]()
    for row in protocol_counts(run / "annotation.csv"):
        if row["split"] == "train" and row["stream"] != UNLABELLED:
            counts[FULL if row["stream"] == FULL else row["protocol"]] += row["scans"]
    return counts


def read_trained(folder: Path) -> Trained:
    """Read the finished runs below a folder; raises `ReportError`, `ConfigError`."""
    collected = collect(folder)
    frame = with_arms(collected.scores)
    names = set(frame["experiment"].str.partition(",")[0])
    if len(names) > 1:
        log.warning("the curve takes %s for one way to train", ", ".join(sorted(names)))
    frame = frame[frame["abbreviation"] == MEAN_OF_LEAVES]
    table = frame.pivot_table(index=["subject", "session"], columns="run", values="dice").dropna()
    again = {name for _, *others in collected.repeated for name in others}
    for group in collected.repeated:
        log.warning("%s are one training, and count once", ", ".join(group))
    annotated = {run.name: counts_of(run.path) for run in collected.runs if run.name not in again}
    run_names = [name for name in table.columns if annotated.get(name)]
    if table.empty or not run_names:
        raise ConfigError(
            f"the runs below {folder} have no test scan in common, or none records what it was "
            "trained on (annotation.csv)"
        )
    depths = dict.fromkeys((FULL, *(depth for name in run_names for depth in annotated[name])))
    counts = np.array(
        [[annotated[name][depth] for depth in depths] for name in run_names], dtype=float
    )
    return Trained(tuple(depths), counts, table[run_names].mean().to_numpy(), len(table))


def learn(folder: Path) -> tuple[Trained, LearningCurve]:
    """Read the runs below a folder and fit a learning curve; raises as `read_trained`."""
    trained = read_trained(folder)
    try:
        return trained, LearningCurve.fit(trained.depths, trained.counts, trained.dice)
    except ValueError as error:
        raise ConfigError(f"no curve through the runs below {folder}: {error}") from None


def worth_of(trained: Trained, curve: LearningCurve) -> dict[str, float]:
    """Return the worth of each coarse annotation in full ones, for depths in which runs differ."""
    median = np.median(curve.worth, axis=0)
    pairs = zip(curve.depths, trained.counts.T, median, strict=True)
    return {
        name: float(value) for name, counts, value in pairs if name != FULL and np.ptp(counts) > 0
    }


def write_curve(
    trained: Trained,
    curve: LearningCurve,
    output: Path,
    now: Mapping[str, int],
    after: Mapping[str, int],
    pool: int,
) -> list[str]:
    """Write curve.tsv and curve.png, and return lines that summarise them.

    Args:
        trained: runs that the curve is fitted to.
        curve: fitted learning curve.
        output: folder to write to.
        now: current number of scans by depth of annotation.
        after: the same after the plan is carried out.
        pool: number of scans that may be annotated; cases with more are left out.
    """
    unknown = sorted({name for name in (*now, *after) if name not in curve.depths})
    if unknown:
        log.warning("no run of the curve has %s: counted as nothing there", ", ".join(unknown))
    cases = [("now", now), ("plan", after)] + [
        (f"{n} more {depth}", dict(now) | {depth: now.get(depth, 0) + n})
        for depth in curve.depths
        for n in ADDITIONS
        if n <= pool
    ]
    table = [[case.get(depth, 0) for depth in curve.depths] for _, case in cases]
    counts = np.array(table, dtype=float)
    amounts = np.median(curve.amount(counts), axis=0)
    predictions, gains = curve.predict(counts, LEVEL), curve.gain(counts, counts[0], LEVEL)
    rows = [
        [name, f"{amount:.3g}", *(f"{value:.4f}" for value in (*dice, *gain))]
        for (name, _), amount, dice, gain in zip(cases, amounts, predictions, gains, strict=True)
    ]
    write_rows(output / "curve.tsv", COLUMNS, rows)
    _draw(output / "curve.png", curve, trained, amounts, predictions)
    worth = np.quantile(curve.worth, (0.5, 0.025, 0.975), axis=0).T
    return [
        f"Dice with the labels that are there: {_interval(predictions[0], 3)}",
        f"what the plan should add: {_interval(gains[1], 4)}",
        *(
            f"{name} is worth {_interval(values, 2)} of a full annotation"
            for name, values in zip(curve.depths[1:], worth[1:], strict=True)
        ),
        f"learnt from {len(trained.dice)} runs; mean over structures and {trained.scans} scans",
    ]


def _interval(values: np.ndarray, digits: int) -> str:
    median, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{median} ({low} to {high})"


def _draw(
    path: Path,
    curve: LearningCurve,
    trained: Trained,
    amounts: np.ndarray,
    predicted: np.ndarray,
) -> None:
    """Plot Dice against the worth of the labels in full annotations."""
    run_worth = np.median(curve.amount(trained.counts), axis=0)
    log_worth = np.log10([*run_worth, *amounts])
    grid = np.zeros((100, len(curve.depths)))
    grid[:, 0] = np.logspace(log_worth.min(), log_worth.max(), 100)
    median, low, high = curve.predict(grid, LEVEL).T
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    axes.fill_between(grid[:, 0], low, high, color="#c9d7ea", label="95 % of trainings")
    axes.plot(grid[:, 0], median, color="#4c72b0")
    axes.plot(run_worth, trained.dice, ".", color="#444444", label="runs")
    for index, (name, mark) in enumerate((("now", "s"), ("plan", "D"))):
        axes.plot(amounts[index], predicted[index, 0], mark, label=figure_text(name))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("full annotations, or what is worth as much")
    axes.set_ylabel("mean Dice")
    tidy(axes, "both")
    legend_above(figure, axes)
    write_figure(path, figure, dpi=150)


def case_after(now: Mapping[str, int], moves: Sequence[tuple[str, str]]) -> Counter[str]:
    """Return the counts after scans have moved from one depth of annotation to another."""
    counts = Counter(now)
    for before, after in moves:
        counts[after] += 1
        if counts[before] > 0:
            counts[before] -= 1
    return counts
