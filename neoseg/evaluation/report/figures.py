"""Bar charts and heat map of the scores of arms per structure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.arms import MEANS, ages_in, single_classes
from neoseg.evaluation.report.style import (
    WIDTH,
    arm_styles,
    legend_above,
    longest,
    new_figure,
    tidy,
)
from neoseg.findings.markup import figure_text

_MAX_CLASSES = 12
_MAX_BARS = 60


def bar_figure(summary: pd.DataFrame, metric: str = "dice") -> Figure:
    """Draw a metric per class and arm, a panel per age group, as in the paper's Figure 4.

    Error bars are the intervals over subjects, if available. The hidden classes are shown, or all
    if none is hidden; if there are too many, a mean and the first ones.
    """
    part = summary[summary["metric"] == metric]
    groups = [group for group in ages_in(part) if group != "all"] or ["all"]
    styles = arm_styles(part)
    arms = list(styles)
    names = _bar_classes(part, max(3, min(_MAX_CLASSES, _MAX_BARS // len(arms))))
    width = 0.8 / len(arms)
    figure = new_figure(WIDTH, 0.6 + 2.2 * len(groups))
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    lowest = 1.0
    for axes, group in zip(panels, groups, strict=True):
        for number, arm in enumerate(arms):
            chosen = part[(part["age_group"] == group) & (part["arm"] == arm)]
            chosen = chosen.set_index("abbreviation").reindex(names)
            centres = np.arange(len(names)) + (number - (len(arms) - 1) / 2) * width
            # Without an interval (NaN) no whisker is drawn.
            below = (chosen["mean"] - chosen["low"]).clip(lower=0)
            above = (chosen["high"] - chosen["mean"]).clip(lower=0)
            axes.bar(
                centres,
                chosen["mean"],
                width * 0.92,
                yerr=[below, above],
                label=figure_text(arm),
                color=styles[arm].colour,
                edgecolor="#ffffff",
                hatch=styles[arm].hatch,
                linewidth=0,
                error_kw={"elinewidth": 1, "capsize": 2},
            )
            lowest = min(lowest, float(np.nanmin([1.0, *chosen["mean"], *chosen["low"]])))
        axes.set_title(f"{group} scans", loc="left")
        axes.set_ylabel(METRICS[metric].title)
        axes.set_xticks(np.arange(len(names)), [figure_text(name) for name in names])
        tidy(axes)
    if metric in ("dice", "nsd"):
        # An axis that starts above 0 makes differences between high bars visible.
        floor = max(0.0, np.floor((lowest - 0.05) * 10) / 10)
        for axes in panels:
            axes.set_ylim(floor, 1.0)
    legend_above(figure, panels[0])
    return figure


def _bar_classes(part: pd.DataFrame, most: int) -> list[str]:
    single, names = single_classes(part), set(part["abbreviation"])
    means = [name for name in MEANS if name in names]
    return single if len(single) <= most else [*means[:1], *single[: most - 1]]


def heat_map(summary: pd.DataFrame) -> Figure:
    """Draw Dice of every structure (rows) and arm (columns), with the value in each cell."""
    part = summary[(summary["metric"] == "dice") & (summary["age_group"] == "all")]
    names = list(dict.fromkeys(part["abbreviation"]))
    arms = list(arm_styles(part))
    table = part.pivot(index="abbreviation", columns="arm", values="mean").loc[names, arms]
    values = table.to_numpy(dtype=float)
    label = 0.085 * longest(arms)
    figure = new_figure(max(WIDTH, 2.2 + 0.33 * len(arms)), 1.2 + label + 0.17 * len(names))
    axes = figure.subplots()
    # Bright cells are good, in colour and in greyscale.
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if np.isnan(value):
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        text = f"{value:.2f}"
        axes.text(*(column, row, text), ha="center", va="center", fontsize=6, color="wk"[not dark])
    axes.set_xticks(range(len(arms)), [figure_text(a) for a in arms], rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), [figure_text(name) for name in names], fontsize=7)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=min(1.0, 6 / len(names)), label=METRICS["dice"].title)
    return figure
