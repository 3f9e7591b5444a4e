"""Divide the training subjects into folds, each left out of one training."""

from neoseg.cohort.annotation import Assignment
from neoseg.cohort.plan import Plan
from neoseg.cohort.scan import person_of
from neoseg.cohort.split import shuffled
from neoseg.findings.problems import CohortError, Problem
from neoseg.labels import STREAMS


def fold_of_each(plan: Plan, folds: int, draw: int = 0) -> dict[str, int]:
    """Return the fold, from 0, of each training subject of a plan.

    The subjects are dealt out by stream ("full" first), within a stream in the order of a hash of
    their ids, so that folds have about equal numbers of each. Subjects of two cohorts whose ids
    name one person (see `person_of`) are in one fold.

    Raises:
        CohortError: fewer subjects than folds.
    """
    depth, first = dict[str, int](), dict[str, Assignment]()
    training = [item for item in plan.assignments if item.split == "train"]
    for item in training:
        lowest = depth.get(item.subject, len(STREAMS))
        depth[item.subject] = min(lowest, STREAMS.index(item.stream))
        first.setdefault(person_of(item.subject), item)
    if len(depth) < folds:
        problem = Problem(
            "recipe.folds",
            f"is {folds}, and {len(depth)} subjects are for training",
            "at least a subject for each fold",
            "lower recipe.folds, or give training more subjects (split.fractions)",
        )
        raise CohortError("the training subjects cannot be divided:", [problem])
    order = sorted(shuffled(depth, "folds", draw), key=depth.__getitem__)
    fold_of = {subject: position % folds for position, subject in enumerate(order)}
    for item in training:
        same = first[person_of(item.subject)]
        if item.cohort != same.cohort:
            fold_of[item.subject] = fold_of[same.subject]
    return fold_of


def without_fold(plan: Plan, folds: dict[str, int], fold: int) -> Plan:
    """Return a plan without the training scans of a fold; validation and test are kept."""
    return plan.keeping(lambda item: item.split != "train" or folds[item.subject] != fold)
