"""What a run was made of, as plain containers for its record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neoseg.cohort import Assignment, Cohort, Plan


def describe(annotated: Plan) -> dict[str, Any]:
    """Return the counts of scans by split and stream, the label sets in words, and what of the
    cohorts was skipped.

    The counts of each cohort stand beside where there are several.
    """
    counts = _counts(annotated.assignments)
    cohorts = {s.cohort.name: _counts(s.assignments) for s in annotated.sources}
    space = annotated.codebook.space
    merged = annotated.codebook.sets[space.num_leaves + 1 :]
    sets = ["{" + ", ".join(space.leaves[k].abbreviation for k in sorted(s)) + "}" for s in merged]
    several = {"cohorts": cohorts} if len(cohorts) > 1 else {}
    skipped = [row for source in annotated.sources for row in _skipped(source.cohort)]
    return {"scans": counts, **several, "merged_label_sets": sets, "skipped": skipped}


def _skipped(cohort: Cohort) -> list[dict[str, str]]:
    """Return the scans that were left out for errors, and why."""
    return [
        {"cohort": cohort.name, "scan": scan, "kind": problem.kind, "why": str(problem)}
        for problem in cohort.problems
        for scan in problem.scans
    ]


def _counts(assignments: Iterable[Assignment]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for item in assignments:
        row = counts.setdefault(item.split, {})
        row[item.stream] = row.get(item.stream, 0) + 1
    return counts
