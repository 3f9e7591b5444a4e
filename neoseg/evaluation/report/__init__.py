"""Finished runs against each other: statistics, tables, figures and the HTML page."""

from neoseg.evaluation.report.arms import arm_name, summarise_arms, with_arms
from neoseg.evaluation.report.collect import (
    Collected,
    FinishedRun,
    ReportError,
    Unfinished,
    collect,
    find_runs,
)
from neoseg.evaluation.report.compare import Comparison, ReportSettings, compare
from neoseg.evaluation.report.contrasts import compare_arms
from neoseg.evaluation.report.write import write_report

__all__ = [
    "Collected",
    "Comparison",
    "FinishedRun",
    "ReportError",
    "ReportSettings",
    "Unfinished",
    "arm_name",
    "collect",
    "compare",
    "compare_arms",
    "find_runs",
    "summarise_arms",
    "with_arms",
    "write_report",
]
