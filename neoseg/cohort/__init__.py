"""Scans and where they lie, splits, and who is annotated how."""

from neoseg.cohort.annotation import (
    AnnotationSettings,
    Assignment,
    ExtraAnnotationSettings,
    plan_annotation,
    read_plan,
    write_plan,
)
from neoseg.cohort.bids import read_bids
from neoseg.cohort.dhcp import read_dhcp
from neoseg.cohort.modality import MissingModality, with_modalities
from neoseg.cohort.plan import Plan, Source, cohort_folder
from neoseg.cohort.reader import Reading, reader
from neoseg.cohort.scan import Cohort, Scan
from neoseg.cohort.selection import Selection
from neoseg.cohort.split import (
    SPLITS,
    Split,
    SplitSettings,
    make_split,
    read_split,
    split_cohort,
    split_of,
    write_splits,
)
from neoseg.cohort.synthetic import read_phantom
from neoseg.findings.problems import CohortError, OnError, Problem, Problems
from neoseg.findings.settings import parse_settings

__all__ = [
    "SPLITS",
    "AnnotationSettings",
    "Assignment",
    "Cohort",
    "CohortError",
    "ExtraAnnotationSettings",
    "MissingModality",
    "OnError",
    "Plan",
    "Problem",
    "Problems",
    "Reading",
    "Scan",
    "Selection",
    "Source",
    "Split",
    "SplitSettings",
    "cohort_folder",
    "make_split",
    "parse_settings",
    "plan_annotation",
    "read_bids",
    "read_dhcp",
    "read_phantom",
    "read_plan",
    "read_split",
    "reader",
    "split_cohort",
    "split_of",
    "with_modalities",
    "write_plan",
    "write_splits",
]
