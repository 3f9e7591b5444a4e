"""Decide among all cohorts of a run which training scans are fully labelled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from neoseg.cohort.annotation import FULL, Assignment
from neoseg.cohort.plan import Source
from neoseg.labels.convention import unnamed

log = logging.getLogger(__name__)


def compared(sources: Sequence[Source], use_rest: Sequence[bool]) -> Iterator[Source]:
    """Yield the cohorts of a run with the streams that their training scans have in this run.

    Scans that are full in their own cohort count as partial if the label files of another cohort,
    of which some training scan is full, tell the same leaves apart and more; so do scans that a
    protocol only describes, if the cohort has no integer for some leaf.

    Args:
        sources: the cohorts, each planned by itself.
        use_rest: of each, whether the run trains on its scans that are not full.
    """
    sources = [_with_open_files(source) for source in sources]
    numbers = [sum(map(_trains_in_full, source.assignments)) for source in sources]
    for source, number, rest in zip(sources, numbers, use_rest, strict=True):
        told = source.told_apart
        fuller = [
            other.cohort.name
            for other, others in zip(sources, numbers, strict=True)
            if others and told < other.told_apart
        ]
        if fuller and number:
            log.info(
                "cohort '%s': %d training scans %s, since the label files of '%s' tell more "
                "structures apart",
                source.cohort.name,
                number,
                "count as partial" if rest else "are not full, and left out",
                fuller[0],
            )
            lowered = (
                replace(item, stream="partial") if _trains_in_full(item) else item
                for item in source.assignments
            )
            source = replace(source, assignments=tuple(lowered))
        kept = (a for a in source.assignments if rest or a.split != "train" or a.stream == "full")
        yield replace(source, assignments=tuple(kept))


def _with_open_files(source: Source) -> Source:
    """Return the cohort with described scans as partial whose integers do not tell every leaf."""
    convention = source.cohort.convention
    described = {
        (scan.subject, scan.session)
        for scan in source.cohort.scans
        if scan.described is not None
        and scan.described.name != FULL
        and unnamed(convention.space, scan.meaning(convention).sets)
    }
    return replace(
        source,
        assignments=tuple(
            replace(item, stream="partial")
            if item.stream == "full" and (item.subject, item.session) in described
            else item
            for item in source.assignments
        ),
    )


def _trains_in_full(item: Assignment) -> bool:
    return item.split == "train" and item.stream == "full"
