"""Scans and their files, splits, and annotation plans."""

from neoseg.cohort.annotation import AnnotationSettings, Assignment
from neoseg.cohort.bids import read_bids
from neoseg.cohort.dhcp import read_dhcp
from neoseg.cohort.freesurfer import read_freesurfer
from neoseg.cohort.modality import MissingModality
from neoseg.cohort.nnunet import read_nnunet
from neoseg.cohort.patterns import read_folder
from neoseg.cohort.plan import Plan, Source
from neoseg.cohort.scan import Cohort, Scan
from neoseg.cohort.scan_table import read_table
from neoseg.cohort.split import Split, SplitSettings
from neoseg.cohort.synthetic import read_phantom
from neoseg.findings.problems import CohortError, Problem

__all__ = [
    "AnnotationSettings",
    "Assignment",
    "Cohort",
    "CohortError",
    "MissingModality",
    "Plan",
    "Problem",
    "Scan",
    "Source",
    "Split",
    "SplitSettings",
    "read_bids",
    "read_dhcp",
    "read_folder",
    "read_freesurfer",
    "read_nnunet",
    "read_phantom",
    "read_table",
]
