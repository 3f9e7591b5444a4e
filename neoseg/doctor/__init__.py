"""What is wrong with a cohort: every finding of one pass, as a report for people and machines."""

from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.examination import diagnose, without_bad_scans

__all__ = ["Diagnosis", "diagnose", "without_bad_scans"]
