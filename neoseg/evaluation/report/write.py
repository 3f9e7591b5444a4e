"""Write the report on the runs of a sweep: tables, figures, cards and the HTML page."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from neoseg.evaluation.card import CARD, write_card
from neoseg.evaluation.report.arms import scan_means
from neoseg.evaluation.report.cases import case_figure, case_picture, case_views
from neoseg.evaluation.report.collect import RUN_COLUMNS
from neoseg.evaluation.report.compare import Comparison, ReportSettings, compare
from neoseg.evaluation.report.expected import expected_figure, read_expected
from neoseg.evaluation.report.figures import bar_figure, heat_map
from neoseg.evaluation.report.page import PAGE, is_page, write_placeholder
from neoseg.evaluation.report.page_data import write_report_page
from neoseg.evaluation.report.plate import plate_figure
from neoseg.evaluation.report.run_files import FinishedRun, ReportError
from neoseg.evaluation.report.text import Parts, markdown_report, write_tables
from neoseg.evaluation.report.trends import age_figure, learning_curves, read_curves, share_figure
from neoseg.files import write_bytes, write_figure, write_text
from neoseg.findings.markup import write_csv
from neoseg.findings.privacy import Privacy
from neoseg.findings.problems import shorten
from neoseg.tracking import METRICS

TABLES = (
    *("scores.csv", "summary.csv", "tests.csv", "runs.csv"),
    *("report.md", "tables.md", "tables.tex"),
)

FIGURES = ("dice", "hd95", "share", "age", "curves", "expected", "structures", "plate")
"""Names of the figures in a report."""


def write_report(
    runs: Path,
    output: Path,
    settings: ReportSettings | None = None,
    privacy: Privacy = "none",
) -> Path:
    """Compare all finished runs below `runs` and write the report into `output`.

    Files:
    `scores.csv` (every scan of every run), `summary.csv` (tidy, one row per arm, age group, class
    and metric), `tests.csv` (one row per pair of arms, age group, class and metric), `runs.csv`
    (one row per run, unfinished ones with the reason);
    `report.md`, `tables.md` and `tables.tex` in the layout of the paper's tables;
    figures as PNG and PDF; `plate.pdf` and `plate.png`, one scan for a paper; `cases/` (worst
    and median scans); `cards/` (a card per run);
    `report.html`, everything in one page. The folders of the runs are not changed.

    Returns:
        Path of `report.html`.

    Raises:
        ReportError: there is no finished run, or `output` has files of something else.
    """
    _require_free(output)
    comparison = compare(runs, settings or ReportSettings(), privacy)
    _remove_earlier(output)
    for name, table in (
        ("scores", comparison.collected.scores),
        ("summary", comparison.summary),
        ("tests", comparison.tests),
        ("runs", comparison.table),
    ):
        write_csv(output / f"{name}.csv", table)
    _write_plate(comparison, output)
    parts = Parts(
        figures=_write_figures(comparison, output),
        cases=_write_cases(comparison, output),
        cards={
            run.name: _write_card(comparison, run, number, output, privacy)
            for number, run in enumerate(comparison.collected.runs, start=1)
        },
    )
    write_tables(comparison, output)
    write_text(output / "report.md", markdown_report(comparison, parts))
    write_report_page(comparison, parts, output)
    return output / PAGE


def _require_free(output: Path) -> None:
    """Raise `ReportError` if a folder has files of something else by the names of a report's."""
    there = [name for name in (*TABLES, PAGE) if (output / name).exists()]
    if there and not (is_page(output / PAGE) or _has_scores(output)):
        raise ReportError(
            f"{output} has {shorten(there)} of something else, which a report would write over; "
            "name another folder"
        )


def _has_scores(output: Path) -> bool:
    """Return whether there are the scores of a report, whose page earlier versions removed."""
    try:
        with (output / "scores.csv").open(encoding="utf-8") as stream:
            return stream.readline().startswith(",".join(RUN_COLUMNS))
    except (OSError, ValueError):
        return False


def _remove_earlier(output: Path) -> None:
    """Remove the page, pictures and cards of an earlier report, which may show other runs or ids.

    The page is written last, and until then says so: an old one must not be mistaken for that of
    the new tables.
    """
    number = "[0-9][0-9]*-*"
    cases, cards = output.glob(f"cases/{number}.png"), output.glob(f"cards/{number}/{CARD}.*")
    figures = (output / f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf"))
    for path in (*figures, *cases, *cards):
        path.unlink(missing_ok=True)
    for folder in output.glob(f"cards/{number}"):
        with suppress(OSError):  # somebody's own files are in it
            folder.rmdir()
    write_placeholder(output / PAGE)


def _write_figures(comparison: Comparison, output: Path) -> dict[str, str]:
    """Write the figures for which the runs have data; return name -> caption."""
    written = {}
    for name, caption, figure in _figures(comparison):
        if figure is not None:
            _save(figure, output / f"{name}.png", output / f"{name}.pdf")
            written[name] = caption
    return written


def _figures(comparison: Comparison) -> Iterator[tuple[str, str, Figure | None]]:
    """Yield name and caption of each figure, and the figure if the runs have data for it."""
    frame, summary = comparison.frame, comparison.summary
    arms = frame.drop_duplicates("run")
    paths = {name: run.path for name, run in comparison.runs.items()}
    yield (
        "dice",
        "Dice per structure and arm; whiskers are intervals over subjects.",
        bar_figure(summary),
    )
    yield (
        "hd95",
        "HD95 per structure and arm; whiskers are intervals over subjects.",
        bar_figure(summary, "hd95"),
    )
    yield "share", "Dice against the share of fully labelled subjects.", share_figure(summary)
    yield (
        "age",
        "Dice of each test scan, averaged over draws, against the age at the scan.",
        age_figure(scan_means(frame)),
    )
    yield (
        "curves",
        "Learning curves: runs faint, the mean of an arm strong. Losses of arms with different "
        "objectives cannot be compared.",
        learning_curves({name: read_curves(path / METRICS) for name, path in paths.items()}, arms),
    )
    yield (
        "expected",
        "Dice that calibrated networks expect of a scan, before calibration corrects it, and "
        "the true one: how far they know their failures.",
        expected_figure({name: read_expected(path) for name, path in paths.items()}, arms),
    )
    yield "structures", "Mean Dice of every structure and arm, all scans.", heat_map(summary)


def _write_plate(comparison: Comparison, output: Path) -> None:
    """Draw the scan for a paper, if any run has a view of it."""
    case = comparison.plate
    views = case_views(case, comparison.runs) if case else {}
    if case and views:
        figure = plate_figure(case, views, comparison.settings.plate)
        with rc_context({"pdf.fonttype": 42}):  # letters that a publisher can edit
            _save(figure, output / "plate.pdf", output / "plate.png", dpi=300)


def _write_cases(comparison: Comparison, output: Path) -> dict[int, str]:
    """Draw each case or copy its run's picture; return index of the case -> path in `output`."""
    runs = comparison.runs
    written = {}
    for number, case in enumerate(comparison.cases):
        path = output / "cases" / f"{number + 1:02d}-{case.kind}-{file_name(case.arm)}.png"
        views = case_views(case, runs)
        if views:
            _save(case_figure(case, views), path)
        elif (picture := case_picture(case, case.arm, runs)) is not None:
            write_bytes(path, picture)
        else:
            continue
        written[number] = path.relative_to(output).as_posix()
    return written


def _write_card(
    comparison: Comparison, run: FinishedRun, number: int, output: Path, privacy: Privacy
) -> str:
    """Write the card of a run anew, even if its folder has one; return the path in `output`."""
    row = comparison.frame[comparison.frame["run"] == run.name].iloc[0]
    name = file_name(f"{row['arm']} {row['draw']}")
    folder = output / "cards" / f"{number:02d}-{name}"
    return write_card(run.path, folder, run.name, privacy).relative_to(output).as_posix()


def file_name(text: str) -> str:
    """Return text as a short part of a file name, safe for shells, pages and file systems."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60] or "unnamed"


def _save(figure: Figure, *paths: Path, dpi: int = 130) -> None:
    for path in paths:
        write_figure(path, figure, dpi=dpi)
