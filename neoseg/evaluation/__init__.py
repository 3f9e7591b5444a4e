"""Scores of predictions, score tables, and the comparison of runs."""

from neoseg.evaluation.collect import Collected, ReportError, Unfinished, collect, find_runs
from neoseg.evaluation.comparison import arm_table, report, summarise_arms
from neoseg.evaluation.scores import ClassScore, scorable_classes, score_scan
from neoseg.evaluation.scoring import score_scans
from neoseg.evaluation.table import (
    markdown,
    overview,
    read_scores,
    rich_table,
    score_frame,
    summarise,
    write_scores,
)

__all__ = [
    "ClassScore",
    "Collected",
    "ReportError",
    "Unfinished",
    "arm_table",
    "collect",
    "find_runs",
    "markdown",
    "overview",
    "read_scores",
    "report",
    "rich_table",
    "scorable_classes",
    "score_frame",
    "score_scan",
    "score_scans",
    "summarise",
    "summarise_arms",
    "write_scores",
]
