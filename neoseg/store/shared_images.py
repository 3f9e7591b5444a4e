"""Images that two cohorts of a training have in common."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from neoseg.cohort import Assignment, Plan, Problem, Scan, Source
from neoseg.findings.command_line import override, quoted
from neoseg.findings.problems import shorten, warning
from neoseg.labels import LabelSet
from neoseg.store.damage import DataError
from neoseg.store.leaks import Leaks, Member, by_image

log = logging.getLogger(__name__)

Pair = tuple[Scan, Scan]
"""Scans of two cohorts that show the same."""


def tell_shared_images(plan: Plan, members: Sequence[Member], leaks: Leaks) -> None:
    """Log a warning for each two cohorts that have images in common.

    Args:
        plan: of the run.
        members: the scans of the plan in its order, with signatures.
        leaks: the key of that name.

    Raises:
        DataError: the annotation of one cohort hides structures of a training image that the other
            tells, so that they are learnt, and `leaks` is not "tell".
    """
    pairs = defaultdict[tuple[str, str], list[Pair]](list)
    for leak in by_image([replace(member, part=member.scan.cohort) for member in members]):
        pairs[leak.first.part, leak.other.part].append((leak.first.scan, leak.other.scan))
    sources = {source.cohort.name: source for source in plan.sources}
    found = [_problem(sources[a], sources[b], scans, leaks) for (a, b), scans in pairs.items()]
    if errors := [problem for problem in found if problem.severity == "error"]:
        raise DataError.of(errors)
    for problem in found:
        log.warning("%s", problem)


def _problem(first: Source, other: Source, pairs: Sequence[Pair], leaks: Leaks) -> Problem:
    name, shown = first.cohort.name, {scan.id for _, scan in pairs}
    found = [f"has {len(shown)} images that cohort '{name}' has too: {shorten(sorted(shown))}"]
    tests = [{scan.id for scan, _ in source.of_split("test")} for source in (first, other)]
    if twice := sum(a.id in tests[0] and b.id in tests[1] for a, b in pairs):
        found.append(f"the test scores {twice} of them twice")
    revealed = [*_revealed(first, other, pairs), *_revealed(other, first, [p[::-1] for p in pairs])]
    line = _excluding(other, shown)
    tell = ", or set leaks=tell to go on all the same" if revealed else ""
    problem = warning(
        f"cohort '{other.cohort.name}'",
        "; ".join([*found, *revealed]),
        "each image in one cohort",
        f"leave them out of one, such as by {line}{tell}",
        "duplicate-image",
    )
    return replace(problem, severity="error") if revealed and leaks != "tell" else problem


def _revealed(hiding: Source, telling: Source, pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield what the annotation of a cohort hides in training images and another cohort tells."""
    items, others = (
        {scan.id: item for scan, item in source.of_split("train")} for source in (hiding, telling)
    )
    found = [
        _hidden(hiding, one, items[one.id]) & _told(telling, two, others[two.id])
        for one, two in pairs
        if one.id in items and two.id in others
    ]
    space = hiding.cohort.convention.space
    if leaves := frozenset[int]().union(*found):
        yield (
            f"the annotation of '{hiding.cohort.name}' hides "
            f"{shorten((space.leaves[leaf].abbreviation for leaf in sorted(leaves)), 12)} in "
            f"{sum(map(bool, found))} of them that are trained on, where "
            f"'{telling.cohort.name}' shows them"
        )


def _told(source: Source, scan: Scan, item: Assignment) -> LabelSet:
    """Return the structures that a scan tells from all others under its annotation."""
    protocol = source.protocols[item.protocol]
    if scan.label is None or (protocol.slices and not protocol.describes):
        return frozenset()
    return _separate(source, source.told(scan, item.protocol))


def _hidden(source: Source, scan: Scan, item: Assignment) -> LabelSet:
    """Return the structures that only the annotation keeps the label file of a scan from telling.

    What the file itself does not tell is not hidden: another cohort may well have drawn it.
    """
    if scan.label is None:
        return frozenset()
    convention = source.cohort.convention
    return _separate(source, scan.sets(convention)) - _told(source, scan, item)


def _separate(source: Source, sets: Sequence[LabelSet]) -> LabelSet:
    single = (leaves for leaves in sets if len(leaves) == 1)
    return frozenset[int]().union(*single) - {source.cohort.convention.space.background}


def _excluding(source: Source, ids: set[str]) -> str:
    """Return the setting that leaves scans out of an extra cohort."""
    cohort, names = source.cohort, list[str]()
    key = f"extra_cohorts.{cohort.name}"
    if ids == {scan.id for scan in cohort.scans}:
        return f"taking {key}, all of whose scans they are, out of the command"
    for subject in cohort.subjects:
        scans = [scan.id for scan in cohort.scans if scan.subject == subject]
        names += [f"sub-{subject}"] if ids.issuperset(scans) else [s for s in scans if s in ids]
    listed = ",".join(name if re.fullmatch(r"[\w.+-]+", name) else quoted(name) for name in names)
    line = override(f"++{key}.cohort.exclude", f"[{listed}]")
    return f"{line} (with those that it leaves out already)"
