"""Scans that a report shows: the worst and the median of each arm, with the other arms' results."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from neoseg.cohort.plan import cohort_folder
from neoseg.cohort.scan import scan_id
from neoseg.evaluation.report.arms import MEAN_OF_LEAVES
from neoseg.evaluation.report.run_files import FinishedRun
from neoseg.evaluation.report.style import new_figure
from neoseg.evaluation.view import VIEWS, View, read_view
from neoseg.findings.markup import figure_text
from neoseg.foreign import ForeignError
from neoseg.foreign.packed import read_picture
from neoseg.inference.overlay import WRONG, paint, show_plane
from neoseg.inference.planes import PLANES, centre_of, cut

log = logging.getLogger(__name__)

_MOST_ARMS = 4


@dataclass(frozen=True)
class Shown:
    """One run's result on the scan of a case."""

    run: str
    dice: float


@dataclass(frozen=True)
class Case:
    """A scan that represents an arm.

    Attributes:
        kind: "worst" or "median" of all scans and draws by mean Dice over structures; or "chosen".
        arm: the arm that the scan represents.
        scan: `sub-X_ses-Y`, prefixed with "cohort/" if there are several cohorts.
        scan_age: weeks, NaN if unknown.
        shown: arm -> the result shown; for the other arms, of a run with the same draw, if any.
        file: id of the scan in the folders of the runs.
    """

    kind: str
    arm: str
    scan: str
    scan_age: float
    shown: dict[str, Shown]
    file: str


def choose_cases(frame: pd.DataFrame, files: Mapping[str, str] | None = None) -> list[Case]:
    """Return the worst and the median case of each arm.

    `frame` comes from `with_arms`; `files` maps scan ids to those in the folders of the runs if
    they differ.
    """
    means = _mean_dice(frame)
    cases = []
    for _, part in means.groupby("arm", sort=False):
        ordered = part.sort_values(["dice", "scan", "run"], kind="stable")
        ranks = {"worst": 0}
        if len(ordered) > 1:
            # The lower median, so that it is a scan rather than the mean of two.
            ranks["median"] = (len(ordered) - 1) // 2
        for kind, rank in ranks.items():
            cases.append(_case(kind, ordered.iloc[rank], means, files))
    return sorted(cases, key=lambda case: case.kind, reverse=True)


def case_of(frame: pd.DataFrame, scan: str, files: Mapping[str, str] | None = None) -> Case | None:
    """Return the case of one scan, in the first arm that has scored it; None if none has."""
    means = _mean_dice(frame)
    of_scan = means[means["scan"] == scan]
    return _case("chosen", of_scan.iloc[0], means, files) if len(of_scan) else None


def _mean_dice(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean Dice of every scan in every run, ordered by arm."""
    means = frame[(frame["abbreviation"] == MEAN_OF_LEAVES) & frame["dice"].notna()].copy()
    means["scan"] = [full_id(*ids) for ids in zip(means["subject"], means["session"], strict=True)]
    return means.sort_values(["experiment", "full_fraction"], kind="stable")


def _case(kind: str, row: pd.Series, means: pd.DataFrame, files: Mapping[str, str] | None) -> Case:
    arm, scan = str(row["arm"]), row["scan"]
    shown = _partners(means[means["scan"] == scan], arm, row)
    return Case(kind, arm, scan, float(row["scan_age"]), shown, (files or {}).get(scan, scan))


def _partners(of_scan: pd.DataFrame, arm: str, row: pd.Series) -> dict[str, Shown]:
    shown = {}
    for name, part in of_scan.groupby("arm", sort=False):
        ordered = part.sort_values("run")
        matching = ordered[ordered["draw"] == row["draw"]]
        chosen = row if name == arm else (matching if len(matching) else ordered).iloc[0]
        shown[str(name)] = Shown(str(chosen["run"]), float(chosen["dice"]))
    return shown


def case_views(case: Case, runs: Mapping[str, FinishedRun]) -> dict[str, View]:
    """Return arm -> view of the case's scan, for the runs with a view that matches the first.

    Damaged views are skipped with a warning.
    """
    matching: dict[str, View] = {}
    order = [case.arm, *(arm for arm in case.shown if arm != case.arm)]
    for arm in order:
        path = _file(runs[case.shown[arm].run], VIEWS, case.file, ".npz")
        if path.is_file():
            try:
                view = read_view(path, runs[case.shown[arm].run].path)
            except ValueError as error:
                log.warning("%s", error)
                continue
            first = next(iter(matching.values()), view)
            fits = view.image.shape == first.image.shape and view.names == first.names
            if fits and view.files == first.files:  # otherwise another image or other labels
                matching[arm] = view
    return matching


def case_picture(case: Case, arm: str, runs: Mapping[str, FinishedRun]) -> bytes | None:
    """Return the picture (PNG) that the arm's run drew of the scan; None if missing or damaged."""
    if case.file != case.scan:
        return None  # the original id is painted into the picture
    run = runs[case.shown[arm].run]
    path = _file(run, "pictures", case.file, ".png")
    if not path.is_file():
        return None
    try:
        return read_picture(path, run.path)
    except ForeignError as error:
        log.warning("%s", error)
        return None


def full_id(subject: str, session: str) -> str:
    """Return the id of a scan; a "cohort/" prefix of the subject stays in front."""
    cohort, slash, bare = subject.rpartition("/")
    return cohort + slash + scan_id(bare, session)


def _file(run: FinishedRun, folder: str, scan: str, suffix: str) -> Path:
    """Return the path of a scan's file in a run; those of the first cohort are at the top level."""
    cohort, _, name = scan.rpartition("/")
    root_of_cohort = cohort_folder(run.path, cohort)
    root = root_of_cohort if cohort and root_of_cohort.is_dir() else run.path
    return root / folder / f"{name}{suffix}"


def case_figure(case: Case, views: Mapping[str, View]) -> Figure:
    """Draw the truth, and predictions and errors of at most four arms, in three planes.

    The arm of the case comes first.
    """
    first = next(iter(views.values()))
    centre = centre_of(first.truth, 0)
    rows: list[tuple[str, View, str]] = [("truth", first, "truth")]
    for arm, view in list(views.items())[:_MOST_ARMS]:
        label = f"{arm}\nDice {case.shown[arm].dice:.3f}"
        rows += [(label, view, "prediction"), ("disagreement", view, "wrong")]
    size = np.array(first.image.shape) * first.spacing
    widths = [size[1], size[0], size[0]]
    height = max(size[1], size[2])
    figure = new_figure(7.5, 0.6 + 6.6 * len(rows) * height / sum(widths))
    figure.set_facecolor("black")
    panels = figure.subplots(len(rows), 3, width_ratios=widths, squeeze=False)
    for line, (label, view, layer) in zip(panels, rows, strict=True):
        for axis, axes in enumerate(line):
            show_plane(axes, painted(view, layer, axis, centre[axis]), axis, view.spacing)
        line[0].set_ylabel(figure_text(label), color="white", fontsize=7)
    for axes, (name, _) in zip(panels[0], PLANES, strict=True):
        axes.set_title(name, color="white", fontsize=9)
    figure.suptitle(figure_text(case_title(case)), color="white", fontsize=10)
    return figure


def case_title(case: Case) -> str:
    """Return a title such as "worst case of iuc, 5 %: sub-1_ses-2, 33.4 weeks, Dice 0.512"."""
    age = "" if np.isnan(case.scan_age) else f", {case.scan_age:.1f} weeks"
    dice = case.shown[case.arm].dice
    return f"{case.kind} case of {case.arm}: {case.scan}{age}, Dice {dice:.3f}"


def painted(view: View, layer: str | None, axis: int, position: int) -> np.ndarray:
    """Return a slice as RGB in 0 to 1, with a layer of the view painted over the image."""
    grey = cut(view.image, axis, position)[..., None].repeat(3, axis=2) / 255
    if layer is None:
        return grey
    labels = cut(getattr(view, layer), axis, position)
    colours = ["#000000", WRONG] if layer == "wrong" else list(view.colours)
    table = np.array([to_rgb(colour) for colour in colours])
    paint(grey, labels > 0, table[labels[labels > 0]])
    return grey
