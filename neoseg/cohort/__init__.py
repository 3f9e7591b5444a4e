"""Scans and where they lie, splits, and who is annotated how."""

from neoseg.cohort.annotation import (
    AnnotationSettings,
    Assignment,
    plan,
    plan_annotation,
    read_plan,
    write_plan,
)
from neoseg.cohort.bids import read_bids
from neoseg.cohort.dhcp import read_dhcp
from neoseg.cohort.problems import CohortError, Problem, Problems, parse_settings
from neoseg.cohort.scan import Cohort, Scan
from neoseg.cohort.selection import Selection
from neoseg.cohort.split import (
    Split,
    SplitSettings,
    make_split,
    read_split,
    split_cohort,
    write_split,
)
from neoseg.cohort.synthetic import read_phantom

__all__ = [
    "AnnotationSettings",
    "Assignment",
    "Cohort",
    "CohortError",
    "Problem",
    "Problems",
    "Scan",
    "Selection",
    "Split",
    "SplitSettings",
    "make_split",
    "parse_settings",
    "plan",
    "plan_annotation",
    "read_bids",
    "read_dhcp",
    "read_phantom",
    "read_plan",
    "read_split",
    "split_cohort",
    "write_plan",
    "write_split",
]
