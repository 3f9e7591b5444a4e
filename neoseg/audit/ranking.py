"""From what was measured of all scans to a list of what is unlike the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.audit.measure import KINDS, Measure

SCORE = 3.0
"""Robust deviations from the other scans from which something is listed."""

FEWEST = 5
"""Scans below which a structure is not compared with its own distribution."""

USUAL = 0.25
"""Share of the usual volume of a structure that a network must see before it was not drawn."""

_MAD = 1.4826


@dataclass(frozen=True)
class Finding:
    """Something to look at; `score` is in robust deviations from the other scans."""

    scan: str
    measure: Measure
    score: float


def ranked(measures: Mapping[str, Sequence[Measure]], least: float = SCORE) -> list[Finding]:
    """Return what is unlike the other scans, the strangest first.

    A value is compared with the median of its kind and structure over all scans, in units of their
    median deviation; so what is hard in every scan is listed for none.
    """
    groups: dict[tuple[str, str], list[Measure]] = defaultdict(list)
    for found in measures.values():
        for measure in found:
            groups[measure.kind, measure.structure].append(measure)
    spread = {key: _spread([m.value for m in group]) for key, group in groups.items()}
    volumes = {key: float(np.median([m.volume for m in group])) for key, group in groups.items()}
    listed = []
    for scan, found in measures.items():
        own = []
        for measure in found:
            kind, key = KINDS[measure.kind], (measure.kind, measure.structure)
            centre, scale = spread[key]
            off = measure.value - centre
            size = abs(off) if kind.signed else min(off, measure.value)
            score = size / (scale + kind.floor)
            small = measure.kind == "not_drawn" and measure.volume < USUAL * volumes[key]
            if size >= kind.least and score >= least and not small:
                own.append(Finding(scan, measure, score))
        listed += unexplained(own)
    return sorted(listed, key=lambda finding: (-finding.score, finding.scan))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < FEWEST:
        return 0.0, 0.0
    centre = float(np.median(values))
    return centre, _MAD * float(np.median(np.abs(np.array(values) - centre)))


def unexplained(found: Iterable[Finding]) -> list[Finding]:
    """Leave out of one scan's findings what another of them explains.

    A displacement of all labels explains everything that comes after it.
    """
    order = list(KINDS)
    kept: list[Finding] = []
    explained: set[int] = set()
    everything = False
    ordered = sorted(found, key=lambda f: (order.index(f.measure.kind), -f.score))
    for finding in ordered:
        leaves, kind = set(finding.measure.leaves), finding.measure.kind
        if kind != "shift" and (everything or leaves & explained):
            continue
        kept.append(finding)
        everything |= kind == "shift"
        if KINDS[kind].explains and kind != "contradiction":
            explained |= leaves
    return kept
