"""True Dice against the Dice that calibrated runs expect of a scan."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.arms import MEAN_OF_LEAVES
from neoseg.evaluation.report.style import arm_styles, legend_above, new_figure, tidy
from neoseg.findings.markup import figure_text
from neoseg.foreign import ForeignError, read_json

CALIBRATIONS = "calibration/*/calibration.json"
"""Pattern of the files that `neoseg.calibrate` writes into a run, one per weights and settings."""

_MEAN_KEY = "scan"
"""Key of the mean over structures, among the classes in that file."""

_MIN_SCANS = 3
"""Scans of a run from which a rank correlation is computed."""


def read_expected(run: Path) -> np.ndarray:
    """Return expected and true Dice `[N, 2]` of the scans of a run's last calibration.

    N is 0 without a calibration or if its file is damaged.
    """
    paths = sorted(run.glob(CALIBRATIONS), key=lambda path: path.stat().st_mtime)
    try:
        pairs = read_json(paths[-1], within=run)["found"]["dice"][_MEAN_KEY] if paths else []
        values: np.ndarray = np.array(pairs, dtype=float).reshape(-1, 2)
    except (ForeignError, ValueError, KeyError, TypeError, OSError):
        return np.empty((0, 2))
    finite: np.ndarray = values[np.isfinite(values).all(axis=1)]
    return finite


def expected_figure(expected: Mapping[str, np.ndarray], runs: pd.DataFrame) -> Figure | None:
    """Draw true against expected Dice of the calibration scans, with each arm's rank correlation.

    Args:
        expected: run -> result of `read_expected`.
        runs: a row per run with run, arm, experiment and full_fraction.

    Returns:
        The figure; None if no run is calibrated.
    """
    if not any(len(pairs) for pairs in expected.values()):
        return None
    figure = new_figure(4.6, 4.6)
    axes = figure.subplots()
    for arm, style in arm_styles(runs).items():
        per_run = [
            expected.get(run, np.empty((0, 2))) for run in runs.loc[runs["arm"] == arm, "run"]
        ]
        pairs = np.concatenate(per_run)
        if not len(pairs):
            continue
        # Per network: pooled, the ranks would reflect which network is better.
        ranks = [float(spearmanr(*part.T)[0]) for part in per_run if len(part) >= _MIN_SCANS]
        ranks = [value for value in ranks if value == value]
        correlation = f", rank correlation {np.mean(ranks):.2f}" if ranks else ""
        label = f"{arm}: {len(pairs)} scans{correlation}"
        axes.scatter(
            *pairs.T,
            color=style.colour,
            marker=style.marker,
            edgecolors="white",
            linewidths=0.4,
            label=figure_text(label),
        )
    ends = [*axes.get_xlim(), *axes.get_ylim()]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#888888", linewidth=0.8)
    axes.set_xlabel(f"expected {METRICS['dice'].title}, {MEAN_OF_LEAVES} structures")
    axes.set_ylabel("true")
    tidy(axes, "both")
    legend_above(figure, axes)
    return figure
