"""Arms against each other: tables as CSV, Markdown and LaTeX, and a bar chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neoseg.evaluation.collect import Collected, collect
from neoseg.evaluation.table import METRICS, markdown, plus_minus
from neoseg.files import replacing

_TITLES = {
    "dice": "Dice",
    "hd95": "HD95 (mm)",
    "hd": "Maximum Hausdorff distance (mm)",
    "assd": "Average symmetric surface distance (mm)",
    "paper_dice": "Dice with 1 added to numerator and denominator",
    "paper_hd_voxels": "Maximum Hausdorff distance (voxels)",
}
_DIGITS = {"dice": 3, "paper_dice": 3}
_MAX_BARS = 12
_LATEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "†": r"$\dagger$"}
    | {"–": "--", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"\\": r"\textbackslash{}"}
)


def report(runs: Path, output: Path) -> Path:
    """Compare all finished runs below `runs` and write tables and figures into `output`.

    Written: `scores.csv` (every scan of every run), `summary.csv` (tidy, one row per arm, age
    group, class and metric), `tables.tex`, `dice.png`, `dice.pdf` and `report.md`, which names
    the unfinished runs and is returned.

    Raises:
        ReportError: if there is no finished run.
    """
    collected = collect(runs)
    summary = summarise_arms(collected.scores)
    for name, frame in (("scores.csv", collected.scores), ("summary.csv", summary)):
        with replacing(output / name) as temporary:
            frame.to_csv(temporary, index=False)
    figure = dice_figure(summary)
    for name in ("dice.png", "dice.pdf"):
        with replacing(output / name) as temporary:
            figure.savefig(temporary, dpi=150)
    tables = [(_caption(m, g), arm_table(summary, m, g)) for m in METRICS for g in _groups(summary)]
    _write(output / "tables.tex", "\n".join(latex(frame, caption) for caption, frame in tables))
    _write(output / "report.md", _markdown_report(collected, tables))
    return output / "report.md"


def summarise_arms(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean and std (n - 1) over draws of the per-draw means over scans.

    An arm is an experiment at one share of fully annotated subjects. Seeds of one draw are
    averaged within it; where a run has no draw, each seed counts as one. Columns: arm,
    experiment, full_fraction, age_group (preterm, term, unknown, all), class, abbreviation,
    hidden, metric, mean, std, draws, scans, misses (summed over runs).
    """
    frame = scores.copy()
    no_draw = frame["draw"].isna()
    frame["draw"] = np.where(
        no_draw, "seed " + frame["seed"].astype(str), "draw " + frame["draw"].astype(str)
    )
    frame["arm"] = [
        arm_name(*pair) for pair in zip(frame["experiment"], frame["full_fraction"], strict=True)
    ]
    frame["scan"] = frame["subject"] + "/" + frame["session"]
    hidden = frame.groupby("abbreviation")["hidden"].any()
    arm = ["arm", "experiment", "full_fraction"]
    cell = [*arm, "age_group", "class", "abbreviation"]
    grouping = {"sort": False, "dropna": False}
    parts = []
    for group in _age_groups(frame):
        part = frame if group == "all" else frame[frame["age_group"] == group]
        part = part.assign(age_group=group)
        counts = part.groupby(cell, **grouping).agg(
            scans=("scan", "nunique"), misses=("missed", "sum")
        )
        runs = part.groupby([*cell, "draw", "run"], **grouping)[list(METRICS)].mean()
        draws = runs.groupby(level=[*cell, "draw"], **grouping).mean()
        for metric in METRICS:
            over = draws[metric].groupby(level=cell, **grouping).agg(["mean", "std", "count"])
            over = over.rename(columns={"count": "draws"}).join(counts)
            parts.append(over.assign(metric=metric).reset_index())
    table = pd.concat(parts, ignore_index=True)
    table["hidden"] = table["abbreviation"].map(hidden)
    order = {name: position for position, name in enumerate(dict.fromkeys(frame["abbreviation"]))}
    table["position"] = table["abbreviation"].map(order)
    table = table.sort_values(["experiment", "full_fraction", "position"], kind="stable")
    columns = [*cell, "hidden", "metric", "mean", "std", "draws", "scans", "misses"]
    return table[columns].reset_index(drop=True)


def arm_name(experiment: str, full_fraction: float) -> str:
    """Return "name, 2 %", or the name alone where there is no share."""
    return experiment if pd.isna(full_fraction) else f"{experiment}, {100 * full_fraction:g} %"


def arm_table(summary: pd.DataFrame, metric: str, age_group: str) -> pd.DataFrame:
    """Return one metric as text: a row per class, a column per arm, mean ± std over draws."""
    part = summary[(summary["metric"] == metric) & (summary["age_group"] == age_group)]
    digits = _DIGITS.get(metric, 2)
    cells = part.assign(
        text=[plus_minus(m, s, digits) for m, s in zip(part["mean"], part["std"], strict=True)]
    )
    wide = cells.pivot(index="abbreviation", columns="arm", values="text")
    classes = list(dict.fromkeys(part["abbreviation"]))
    wide = wide.reindex(index=classes, columns=list(dict.fromkeys(summary["arm"]))).fillna("–")
    hidden = set(part.loc[part["hidden"], "abbreviation"])
    wide.insert(0, "class", [f"{name}†" if name in hidden else name for name in classes])
    return wide.reset_index(drop=True)


def latex(frame: pd.DataFrame, caption: str) -> str:
    """Return a frame of text as a LaTeX table (booktabs)."""
    rows = [" & ".join(str(cell).translate(_LATEX) for cell in row) for row in frame.to_numpy()]
    head = " & ".join(str(name).translate(_LATEX) for name in frame.columns)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (frame.shape[1] - 1)}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *(row + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def dice_figure(summary: pd.DataFrame) -> Figure:
    """Draw Dice per class by arm, a panel per age group, error bars ± one std over draws.

    Shows the hidden classes where there are any, else the leading ones, at most 12.
    """
    dice = summary[summary["metric"] == "dice"]
    groups = [g for g in _groups(dice) if g != "all"] or ["all"]
    names = list(dict.fromkeys(dice.loc[dice["hidden"], "abbreviation"]))
    names = (names or list(dict.fromkeys(dice["abbreviation"])))[:_MAX_BARS]
    arms = list(dict.fromkeys(dice["arm"]))
    colours = _colours(dice)
    width = 0.8 / len(arms)
    figure = Figure(
        figsize=(
            max(6.0, 1.2 + 0.28 * len(arms) * len(names) + 0.4 * len(names)),
            3.2 * len(groups),
        ),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    lowest = 1.0
    for axes, group in zip(panels, groups, strict=True):
        for number, arm in enumerate(arms):
            part = dice[(dice["age_group"] == group) & (dice["arm"] == arm)]
            part = part.set_index("abbreviation").reindex(names)
            centres = np.arange(len(names)) + (number - (len(arms) - 1) / 2) * width
            spread = part["std"].fillna(0).to_numpy()
            axes.bar(
                centres,
                part["mean"],
                width * 0.92,
                yerr=spread,
                label=arm,
                color=colours[arm],
                error_kw={"elinewidth": 1, "capsize": 2},
            )
            lowest = min(lowest, float(np.nanmin([1.0, *(part["mean"] - spread)])))
        axes.set_title(f"{group} scans" if group != "all" else "all scans", loc="left")
        axes.set_ylabel("Dice")
        axes.set_xticks(np.arange(len(names)), names)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    # Bars that are all high are told apart by starting above 0, which the axis then shows.
    floor = max(0.0, np.floor((lowest - 0.05) * 10) / 10)
    for axes in panels:
        axes.set_ylim(floor, 1.0)
    handles, labels = panels[0].get_legend_handles_labels()
    # About ten characters of this size fit into an inch; a key and its gaps take seven more.
    columns = max(1, int(figure.get_figwidth() * 10 / (max(map(len, labels)) + 7)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    return figure


def _colours(summary: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """Give each experiment a hue and each of its shares a shade, the largest the fullest."""
    colours = {}
    for number, (_, part) in enumerate(summary.groupby("experiment", sort=False)):
        arms = list(dict.fromkeys(part["arm"]))
        for rank, arm in enumerate(arms, start=1):
            colours[arm] = (f"C{number % 10}", 0.3 + 0.7 * rank / len(arms))
    return colours


def _markdown_report(collected: Collected, tables: Sequence[tuple[str, pd.DataFrame]]) -> str:
    runs = collected.scores["run"].nunique()
    lines = [
        "# Comparison of runs",
        "",
        f"{runs} finished runs. Cells are mean ± standard deviation over draws of the per-draw "
        "means over scans; † marks classes that the annotation protocol hides in some run.",
        "",
        "![Dice per class and arm](dice.png)",
        "",
    ]
    if collected.unfinished:
        lines += [f"Left out, {len(collected.unfinished)} unfinished:", ""]
        lines += [f"- `{run.path}`: {run.reason}" for run in collected.unfinished] + [""]
    for caption, frame in tables:
        lines += [f"## {caption}", "", markdown(frame)]
    return "\n".join(lines)


def _caption(metric: str, group: str) -> str:
    return f"{_TITLES[metric]}, {group} scans"


def _age_groups(frame: pd.DataFrame) -> list[str]:
    present = set(frame["age_group"])
    return [name for name in ("preterm", "term") if name in present] + ["all"]


def _groups(summary: pd.DataFrame) -> list[str]:
    return list(
        dict.fromkeys(sorted(set(summary["age_group"]), key=("preterm", "term", "all").index))
    )


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
