"""Find images that several cohorts have with labels that exclude each other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from neoseg.cohort import Cohort, Problem
from neoseg.findings.problems import shorten, warning
from neoseg.store.brightness import sampled
from neoseg.store.examined import Examined

TOLERATED = 0.01
"""Share of labelled voxels about which two annotations of an image may disagree."""


def contradicting(cohorts: Sequence[tuple[Cohort, Sequence[Examined]]]) -> Iterator[Problem]:
    """Warn of images that two cohorts have with labels that contradict each other."""
    seen: dict[str, tuple[Cohort, Examined]] = {}
    found = defaultdict[tuple[str, str], list[str]](list)
    for cohort, examined in cohorts:
        own = {item.digest: (cohort, item) for item in examined if item.entry and any(item.voxels)}
        for digest in own.keys() & seen.keys():
            if (share := _disjoint(seen[digest], own[digest])) > TOLERATED:
                (first, _), (second, item) = seen[digest], own[digest]
                found[first.name, second.name].append(f"{item.scan.id} ({share:.1%})")
        seen |= own
    for (first_name, second_name), scans in found.items():
        yield warning(
            f"cohort '{second_name}'",
            f"has {len(scans)} images that cohort '{first_name}' has with other labels, of "
            f"structures that exclude each other: {shorten(sorted(scans))} of the labelled voxels",
            "one annotation of each image, or two that agree",
            "both are taken for the truth; leave these scans out of one of the cohorts (exclude)",
            "duplicate-image",
        )


def _disjoint(one: tuple[Cohort, Examined], other: tuple[Cohort, Examined]) -> float:
    """Return the share of labelled voxels about which two annotations of an image disagree."""
    codes, sets = [], []
    for cohort, item in (one, other):
        assert item.entry is not None
        codes.append(sampled(item.entry.read_codes()).astype(np.intp))
        sets.append(item.scan.sets(cohort.convention))
    if codes[0].shape != codes[1].shape:
        return 0.0
    background = one[0].convention.space.background
    apart = np.array([[not (a & b) for b in sets[1]] for a in sets[0]])
    drawn = np.array([[background not in a & b for b in sets[1]] for a in sets[0]])
    count = int(drawn[codes[0], codes[1]].sum())
    return float(apart[codes[0], codes[1]].sum() / count) if count else 0.0
