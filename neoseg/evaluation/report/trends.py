"""Plots against training step, share of full labels and age at the scan."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neoseg.cohort.scan import TERM_AGE
from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.arms import MEAN_OF_HIDDEN, MEAN_OF_LEAVES, age_groups, ages_in
from neoseg.evaluation.report.style import (
    WIDTH,
    arm_styles,
    legend_above,
    new_figure,
    tidy,
)
from neoseg.findings.markup import figure_text
from neoseg.foreign import read_table

CURVES = {"train/loss": "training loss", "val/dice": "validation Dice"}
MOST_STEPS = 1e12
"""Largest step and loss that are drawn."""

_MIN_FIT_SCANS = 8
"""Minimum number of scans to fit a straight line."""


def read_curves(path: Path) -> pd.DataFrame:
    """Read `metrics.csv` of a run; the frame is empty if the file is missing or damaged."""
    try:
        frame = pd.read_csv(io.StringIO(read_table(path, path.parent)))
    except ValueError:
        return pd.DataFrame()
    return frame if "step" in frame.columns else pd.DataFrame()


def learning_curves(curves: Mapping[str, pd.DataFrame], runs: pd.DataFrame) -> Figure | None:
    """Draw loss and validation Dice against the step: runs faint, the mean of each arm bold.

    Losses of arms with different objectives are not comparable.

    Args:
        curves: run -> content of its `metrics.csv`.
        runs: a row per run with run, arm, experiment and full_fraction.

    Returns:
        The figure; None if no run has a curve.
    """
    columns = [c for c in CURVES if any(c in frame.columns for frame in curves.values())]
    if not columns:
        return None
    figure = new_figure(WIDTH, 3.8)
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for arm, style in arm_styles(runs).items():
            lines = []
            for run in runs.loc[runs["arm"] == arm, "run"]:
                frame = curves.get(run, pd.DataFrame())
                if column not in frame.columns:
                    continue
                line = frame[["step", column]].apply(pd.to_numeric, errors="coerce").dropna()
                line = line[line["step"].between(0, MOST_STEPS) & (line[column].abs() < MOST_STEPS)]
                lines.append(line.groupby("step")[column].mean())
                axes.plot(*_xy(lines[-1]), color=style.colour, linewidth=0.7, alpha=0.45)
            if lines:
                mean = pd.concat(lines, axis=1).dropna().mean(axis=1)
                marker = style.marker if len(mean) < 15 else ""
                axes.plot(
                    *_xy(mean),
                    color=style.colour,
                    linestyle=style.line,
                    marker=marker,
                    label=figure_text(arm),
                )
        axes.set_xlabel("step")
        axes.set_ylabel(CURVES[column])
        tidy(axes, "both")
    legend_above(figure, panels[-1])
    return figure


def share_figure(summary: pd.DataFrame) -> Figure | None:
    """Draw Dice against the share of fully labelled subjects, a line per experiment.

    Dice is the mean over the hidden structures, or over all if none is hidden, with its interval.
    The axis is logarithmic; a share of 0 stands to the left of the others. Returns None if no arm
    has a share.
    """
    part = summary[(summary["metric"] == "dice") & summary["full_fraction"].notna()]
    part = part[part["abbreviation"] == _mean_of(part)]
    if part.empty:
        return None
    groups = ages_in(part)
    figure = new_figure(WIDTH, 3.9)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    styles = arm_styles(part)
    shares = sorted(100 * share for share in set(part["full_fraction"]))
    least = min((share for share in shares if share > 0), default=1.0)
    places = [share or least / 3 for share in shares]
    experiments = sorted(set(part["experiment"]))
    for axes, group in zip(panels, groups, strict=True):
        for experiment, line in part[part["age_group"] == group].groupby("experiment"):
            line = line.sort_values("full_fraction")
            style = styles[line["arm"].iloc[-1]]
            # Shift experiments sideways so that equal shares do not overlap.
            offset = 1.05 ** (experiments.index(experiment) - (len(experiments) - 1) / 2)
            below = (line["mean"] - line["low"]).clip(lower=0)
            above = (line["high"] - line["mean"]).clip(lower=0)
            axes.errorbar(
                offset * (100 * line["full_fraction"]).replace(0, least / 3),
                line["mean"],
                yerr=[below, above],
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                capsize=3,
                label=figure_text(experiment),
            )
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        axes.set_xlim(places[0] / 1.4, places[-1] * 1.4)
        axes.set_title(f"{group} scans", loc="left")
        axes.set_xlabel("fully labelled subjects (%)")
        tidy(axes, "both")
    panels[0].set_ylabel(f"{METRICS['dice'].title}, {_mean_of(part)} structures")
    legend_above(figure, panels[0])
    return figure


def age_figure(scans: pd.DataFrame) -> Figure | None:
    """Draw Dice of each scan against the age at the scan, with a linear fit per arm.

    `scans` comes from `arms.scan_means`. Returns None if no scan has an age.
    """
    part = scans[(scans["abbreviation"] == _mean_of(scans)) & scans["scan_age"].notna()]
    part = part[part["dice"].notna()]
    if part.empty:
        return None
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    for arm, style in arm_styles(part).items():
        arm_scans = part[part["arm"] == arm]
        x, y = arm_scans["scan_age"].to_numpy(), arm_scans["dice"].to_numpy()
        axes.scatter(
            *(x, y),
            color=style.colour,
            marker=style.marker,
            edgecolors="white",
            linewidths=0.4,
            label=figure_text(arm),
        )
        if len(x) >= _MIN_FIT_SCANS and np.ptp(x) > 0:
            slope, start = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            axes.plot(
                *(ends, start + slope * ends), color=style.colour, linestyle=style.line, alpha=0.8
            )
    if "preterm" in age_groups(part) and "term" in age_groups(part):
        axes.axvline(TERM_AGE, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlabel("age at the scan (weeks of post-menstrual age)")
    axes.set_ylabel(f"{METRICS['dice'].title}, {_mean_of(scans)} structures")
    tidy(axes, "both")
    legend_above(figure, axes)
    return figure


def _mean_of(frame: pd.DataFrame) -> str:
    names = set(frame["abbreviation"])
    return MEAN_OF_HIDDEN if MEAN_OF_HIDDEN in names else MEAN_OF_LEAVES


def _xy(line: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    return line.index.to_numpy(), line.to_numpy()
