"""Scores of predictions, score tables, run cards, and the comparison of runs in `report`."""

from neoseg.evaluation.card import CardError, run_card, write_card
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.report import ReportError, ReportSettings, collect, write_report
from neoseg.evaluation.scores import ClassScore, scorable_classes, score_scan
from neoseg.evaluation.scoring import ScoreSettings, hidden_classes, score_scans
from neoseg.evaluation.table import (
    overview,
    read_scores,
    rich_table,
    score_frame,
    summarise,
    write_scores,
)
from neoseg.evaluation.view import View, make_view, read_view, write_view
from neoseg.findings.markup import latex, markdown

__all__ = [
    "CardError",
    "ClassScore",
    "ReportError",
    "ReportSettings",
    "ScoreSettings",
    "Scored",
    "View",
    "collect",
    "hidden_classes",
    "latex",
    "make_view",
    "markdown",
    "overview",
    "read_scores",
    "read_view",
    "rich_table",
    "run_card",
    "scorable_classes",
    "score_cohorts",
    "score_frame",
    "score_scan",
    "score_scans",
    "summarise",
    "write_card",
    "write_report",
    "write_scores",
    "write_view",
]
