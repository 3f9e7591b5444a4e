"""Examine every scan of a cohort in one pass, preparing the store on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from neoseg.cohort import Assignment, Cohort, CohortError, Plan, Problem, Source, Split
from neoseg.cohort.label_tables import GUESSED
from neoseg.cohort.split import SPLITS
from neoseg.doctor.annotation import Annotated
from neoseg.doctor.cohort import (
    copied_labels,
    duplicate_images,
    known_sets,
    shown_sets,
    unknown_classes,
    unseen_leaves,
)
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.sides import unpaired_sides
from neoseg.doctor.structures import Structures
from neoseg.labels import LabelSet, Protocol
from neoseg.store.examined import guessed_meaning
from neoseg.store.store import Store

log = logging.getLogger(__name__)


def diagnose(
    cohort: Cohort,
    store: Store,
    plan: Callable[[Cohort], Source] | None = None,
    progress: Callable[[str], None] | None = None,
    verify: bool = False,
) -> Diagnosis:
    """Examine the scans of a cohort, and what its good scans show under an annotation plan.

    Args:
        cohort: read so that errors about single scans are among its problems.
        store: filled on the way.
        plan: of a cohort without the bad scans; None takes every scan for training, fully labelled.
        progress: called with the id of each scan.
        verify: compare checksums of what the store holds already.

    Raises:
        DataError: a store that cannot be written.
    """
    examined = store.examine(cohort, cohort.scans, progress, verify)
    found = [problem for problem in cohort.problems if problem.kind != GUESSED]
    found += guessed_meaning(cohort, examined)
    found += (problem for item in examined for problem in item.problems)
    found += [*duplicate_images(examined), *copied_labels(examined)]
    bad = {scan for p in found if p.severity == "error" for scan in p.scans}
    good = replace(cohort, scans=tuple(s for s in cohort.scans if s.id not in bad))
    structures = annotated = None
    if any(scan.label is not None for scan in good.scans):
        structures = Structures.of(good, [item for item in examined if item.scan.id not in bad])
        try:
            source = (plan or _everything)(good)
        except CohortError as error:
            # Whatever it is called elsewhere: here it is the plan that the cohort does not allow.
            found += [
                replace(p, kind="plan" if p.kind == "setting" else p.kind) for p in error.problems
            ]
        else:
            space = cohort.convention.space
            annotated = None if plan is None else Annotated.of(source)
            found += unseen_leaves(space, shown_sets(source, examined))
            found += unknown_classes(space, known_sets(source))
            found += structures.not_drawn(source)
            found += unpaired_sides(good, examined)
    return Diagnosis(cohort.name, good.scans, tuple(dict.fromkeys(found)), structures, annotated)


def findings_of_plan(plan: Plan, store: Store, mirrored: bool) -> list[Problem]:
    """Return the warnings about what the labels of a plan's scans show, all cohorts together.

    Sides matter where patches are `mirrored`.

    Raises:
        DataError: a store that cannot be written.
    """
    shown, found = set[LabelSet](), list[Problem]()
    for source in plan.sources:
        scans = tuple(scan for part in SPLITS for scan, _ in source.of_split(part))
        examined = store.examine(source.cohort, scans)
        shown |= shown_sets(source, examined)
        found += Structures.of(replace(source.cohort, scans=scans), examined).not_drawn(source)
        found += copied_labels(examined)
        if mirrored:
            found += unpaired_sides(source.cohort, examined)
    return list(dict.fromkeys([*unseen_leaves(plan.space, shown), *found]))


def without_bad_scans(
    cohort: Cohort, store: Store, progress: Callable[[str], None] | None = None
) -> Cohort:
    """Return the cohort without the scans that cannot be used, and why among its problems.

    Raises:
        CohortError: no scan that is left, or errors that concern the whole cohort.
    """
    diagnosis = diagnose(cohort, store, progress=progress)
    fatal = [problem for problem in diagnosis.errors if not problem.scans]
    if fatal or not diagnosis.good:
        raise CohortError(
            f"cohort '{cohort.name}' cannot be used, also without the scans with errors:",
            fatal or diagnosis.errors,
        )
    if diagnosis.errors:
        log.warning(
            "cohort '%s': %d scans are left out (on_error=skip)\n%s",
            cohort.name,
            len(diagnosis.skipped),
            "\n".join(f"  - {problem}" for problem in diagnosis.errors),
        )
    known = [problem for problem in cohort.problems if problem.severity == "warning"]
    return replace(cohort, scans=diagnosis.good, problems=(*diagnosis.errors, *known))


def _everything(cohort: Cohort) -> Source:
    """Every scan for training, with all that its labels tell."""
    full = Protocol.full(cohort.convention.space)
    assignments = [
        Assignment(scan.subject, scan.session, "train", "full", full.name, scan.cohort)
        for scan in cohort.scans
        if scan.label is not None
    ]
    split = Split(cohort.subjects, (), ())
    return Source(cohort, split, tuple(assignments), {full.name: full})
