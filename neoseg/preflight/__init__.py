"""What can be told before any work: keys that do not exist, values and choices that cannot work."""

from neoseg.preflight.check import check_cohort, check_plan, check_train
from neoseg.preflight.overrides import explain_arguments

__all__ = ["check_cohort", "check_plan", "check_train", "explain_arguments"]
