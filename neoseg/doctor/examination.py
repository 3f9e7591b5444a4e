"""Examine every scan of a cohort in one pass, preparing the store on the way."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from neoseg.cohort import Assignment, Cohort, CohortError, Plan, Problem, Source, Split
from neoseg.cohort.label_tables import GUESSED
from neoseg.cohort.split import SPLITS
from neoseg.doctor.annotation import Annotated
from neoseg.doctor.cohort import (
    copied_labels,
    duplicate_images,
    incomplete_scans,
    known_sets,
    shown_sets,
    unknown_classes,
    unseen_leaves,
)
from neoseg.doctor.contradictions import contradicting
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.openness import mostly_open, without_integer
from neoseg.doctor.other_table import other_tables
from neoseg.doctor.sides import exchanged_sides, unpaired_sides
from neoseg.doctor.structures import Structures, untested
from neoseg.labels import LabelSet, Protocol
from neoseg.store.examined import Examined, guessed_meaning, without_window
from neoseg.store.store import Store

log = logging.getLogger(__name__)


def diagnose(
    cohort: Cohort,
    store: Store,
    plan: Callable[[Cohort], Source] | None = None,
    progress: Callable[[str], None] | None = None,
    verify: bool = False,
) -> Diagnosis:
    """Examine the scans of a cohort, and the labels of its good scans under an annotation plan.

    Args:
        cohort: read with `on_error` such that errors about single scans are among its problems.
        store: filled with missing entries along the way.
        plan: returns the plan of a cohort without the bad scans; None uses every scan for training,
            fully labelled.
        progress: called with the id of each scan.
        verify: check the checksums of existing store entries.

    Raises:
        DataError: the store cannot be written.
    """
    examined = store.examine(cohort, cohort.scans, progress, verify)
    problems = [problem for problem in cohort.problems if problem.kind != GUESSED]
    problems += guessed_meaning(cohort, examined)
    problems += without_window(cohort, examined, store.settings)
    problems += (problem for item in examined for problem in item.problems)
    problems += incomplete_scans(cohort)
    problems += [*duplicate_images(examined), *copied_labels(examined)]
    bad = {scan for p in problems if p.severity == "error" for scan in p.scans}
    good = replace(cohort, scans=tuple(s for s in cohort.scans if s.id not in bad))
    structures = annotated = None
    if any(scan.label is not None for scan in good.scans):
        structures = Structures.of(good, [item for item in examined if item.scan.id not in bad])
        try:
            source = (plan or _all_for_training)(good)
        except CohortError as error:
            # Errors in settings are reported here as a plan that the cohort does not allow.
            problems += [
                replace(p, kind="plan" if p.kind == "setting" else p.kind) for p in error.problems
            ]
        else:
            space = cohort.convention.space
            annotated = None if plan is None else Annotated.of(source)
            problems += unseen_leaves(space, shown_sets(source, examined), {"": good.convention})
            problems += unknown_classes(space, known_sets(source))
            problems += [*structures.not_drawn(source), *untested([(source, structures)])]
            problems += [*without_integer(good, good.scans), *mostly_open(source, examined)]
            problems += [*unpaired_sides(good, examined), *exchanged_sides(good, examined)]
            problems += other_tables(good, examined)
    return Diagnosis(cohort.name, good.scans, tuple(dict.fromkeys(problems)), structures, annotated)


def findings_of_plan(plan: Plan, store: Store, mirrored: bool) -> list[Problem]:
    """Return the warnings about the labels of a plan's scans, over all cohorts.

    Unpaired left and right structures are reported only if patches are `mirrored`.

    Raises:
        DataError: the store cannot be written.
    """
    shown, problems = set[LabelSet](), list[Problem]()
    counted = list[tuple[Source, str, Structures]]()
    each = list[tuple[Cohort, Sequence[Examined]]]()
    for place, source in enumerate(plan.sources):
        prefix = f"++extra_cohorts.{source.cohort.name}." if place else ""
        scans = tuple(scan for part in SPLITS for scan, _ in source.of_split(part))
        examined = store.examine(source.cohort, scans)
        shown |= shown_sets(source, examined)
        each.append((source.cohort, examined))
        structures = Structures.of(replace(source.cohort, scans=scans), examined)
        counted.append((source, prefix, structures))
        problems += without_integer(source.cohort, scans, prefix)
        problems += mostly_open(source, examined, prefix)
        problems += [*copied_labels(examined), *exchanged_sides(source.cohort, examined)]
        problems += other_tables(source.cohort, examined)
        if mirrored:
            problems += unpaired_sides(source.cohort, examined)
    problems += contradicting(each)
    everywhere = frozenset[int]().union(*(structures.shown for *_, structures in counted))
    for source, prefix, structures in counted:
        problems += structures.not_drawn(source, prefix, everywhere)
    problems += untested((source, structures) for source, _, structures in counted)
    meanings = {prefix: source.cohort.convention for source, prefix, _ in counted}
    return list(dict.fromkeys([*unseen_leaves(plan.space, shown, meanings), *problems]))


def without_bad_scans(
    cohort: Cohort, store: Store, progress: Callable[[str], None] | None = None
) -> Cohort:
    """Return the cohort without unusable scans; their errors are added to its problems.

    Raises:
        CohortError: no scan is left, or there are errors about the whole cohort.
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
    warnings = [problem for problem in cohort.problems if problem.severity == "warning"]
    return replace(cohort, scans=diagnosis.good, problems=(*diagnosis.errors, *warnings))


def _all_for_training(cohort: Cohort) -> Source:
    """Return a plan with every labelled scan for training, fully labelled."""
    full = Protocol.full(cohort.convention.space)
    assignments = [
        Assignment(scan.subject, scan.session, "train", "full", full.name, scan.cohort)
        for scan in cohort.scans
        if scan.label is not None
    ]
    split = Split(cohort.subjects, (), ())
    return Source(cohort, split, tuple(assignments), {full.name: full})
