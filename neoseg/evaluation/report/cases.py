"""Which scans a report shows: the worst and the median of every arm, with the others beside."""

from __future__ import annotations

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
from neoseg.evaluation.report.style import new_figure, plain_text
from neoseg.evaluation.view import VIEWS, View, read_view
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
    """A scan that stands for an arm.

    Attributes:
        kind: "worst" or "median", by the mean Dice over structures, of all scans and draws; or
            "chosen".
        arm: the arm that it stands for.
        scan: `sub-X_ses-Y`, after the name of its cohort and a slash where there are several.
        scan_age: weeks, NaN where unknown.
        shown: the run of each arm that is shown; of the other arms the one with the same draw.
        file: what the scan is called in the folders of the runs.
    """

    kind: str
    arm: str
    scan: str
    scan_age: float
    shown: dict[str, Shown]
    file: str


def choose_cases(frame: pd.DataFrame, files: Mapping[str, str] | None = None) -> list[Case]:
    """Return the worst and the median case of each arm.

    `frame` comes from `with_arms`; `files` tells what scans are called in the folders of the runs
    where that is something else.
    """
    means = _means(frame)
    cases = []
    for _, part in means.groupby("arm", sort=False):
        ordered = part.sort_values(["dice", "scan", "run"], kind="stable")
        places = {"worst": 0}
        if len(ordered) > 1:
            # The lower one of two in the middle, so that it is a case and not a mean.
            places["median"] = (len(ordered) - 1) // 2
        for kind, place in places.items():
            cases.append(_case(kind, ordered.iloc[place], means, files))
    return sorted(cases, key=lambda case: case.kind, reverse=True)


def case_of(frame: pd.DataFrame, scan: str, files: Mapping[str, str] | None = None) -> Case | None:
    """Return the case of one scan, in the first arm that has scored it."""
    means = _means(frame)
    same = means[means["scan"] == scan]
    return _case("chosen", same.iloc[0], means, files) if len(same) else None


def _means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean Dice of every scan in every run, in the order of the arms."""
    means = frame[(frame["abbreviation"] == MEAN_OF_LEAVES) & frame["dice"].notna()].copy()
    means["scan"] = [full_id(*ids) for ids in zip(means["subject"], means["session"], strict=True)]
    return means.sort_values(["experiment", "full_fraction"], kind="stable")


def _case(kind: str, row: pd.Series, means: pd.DataFrame, files: Mapping[str, str] | None) -> Case:
    arm, scan = str(row["arm"]), row["scan"]
    shown = _partners(means[means["scan"] == scan], arm, row)
    return Case(kind, arm, scan, float(row["scan_age"]), shown, (files or {}).get(scan, scan))


def _partners(same: pd.DataFrame, arm: str, row: pd.Series) -> dict[str, Shown]:
    shown = {}
    for other, part in same.groupby("arm", sort=False):
        ordered = part.sort_values("run")
        matching = ordered[ordered["draw"] == row["draw"]]
        chosen = row if other == arm else (matching if len(matching) else ordered).iloc[0]
        shown[str(other)] = Shown(str(chosen["run"]), float(chosen["dice"]))
    return shown


def case_views(case: Case, runs: Mapping[str, FinishedRun]) -> dict[str, View]:
    """Return arm -> view of the case's scan, for the runs that have kept one that fits.

    A damaged one is left out, with a note in the log.
    """
    found: dict[str, View] = {}
    order = [case.arm, *(arm for arm in case.shown if arm != case.arm)]
    for arm in order:
        path = _file(runs[case.shown[arm].run], VIEWS, case.file, ".npz")
        if path.is_file():
            try:
                view = read_view(path, runs[case.shown[arm].run].path)
            except ValueError as error:
                log.warning("%s", error)
                continue
            first = next(iter(found.values()), view)
            fits = view.image.shape == first.image.shape and view.names == first.names
            if fits and view.files == first.files:  # else of another image or other labels
                found[arm] = view
    return found


def case_picture(case: Case, arm: str, runs: Mapping[str, FinishedRun]) -> bytes | None:
    """Return the picture (PNG) that the arm's run drew of the scan, where there is a sound one."""
    if case.file != case.scan:
        return None  # its id is painted into it
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
    """Return the id of a scan; the name of a cohort before the subject comes first."""
    cohort, slash, bare = subject.rpartition("/")
    return cohort + slash + scan_id(bare, session)


def _file(run: FinishedRun, folder: str, scan: str, suffix: str) -> Path:
    """Return where a run keeps something about a scan, its first cohort on top."""
    cohort, _, name = scan.rpartition("/")
    own = cohort_folder(run.path, cohort)
    root = own if cohort and own.is_dir() else run.path
    return root / folder / f"{name}{suffix}"


def case_figure(case: Case, views: Mapping[str, View]) -> Figure:
    """Draw the truth, and prediction and disagreement of at most four arms, in three planes.

    The case's own arm comes first.
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
        line[0].set_ylabel(plain_text(label), color="white", fontsize=7)
    for axes, (name, _) in zip(panels[0], PLANES, strict=True):
        axes.set_title(name, color="white", fontsize=9)
    figure.suptitle(plain_text(case_title(case)), color="white", fontsize=10)
    return figure


def case_title(case: Case) -> str:
    """Write "worst case of iuc, 5 %: sub-1_ses-2, 33.4 weeks, Dice 0.512"."""
    age = "" if np.isnan(case.scan_age) else f", {case.scan_age:.1f} weeks"
    dice = case.shown[case.arm].dice
    return f"{case.kind} case of {case.arm}: {case.scan}{age}, Dice {dice:.3f}"


def painted(view: View, layer: str | None, axis: int, position: int) -> np.ndarray:
    """Return a slice as RGB in 0 to 1, with a layer of the view upon it."""
    grey = cut(view.image, axis, position)[..., None].repeat(3, axis=2) / 255
    if layer is None:
        return grey
    labels = cut(getattr(view, layer), axis, position)
    colours = ["#000000", WRONG] if layer == "wrong" else list(view.colours)
    table = np.array([to_rgb(colour) for colour in colours])
    paint(grey, labels > 0, table[labels[labels > 0]])
    return grey
