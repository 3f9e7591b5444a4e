"""Rank the measures of all scans by how much they deviate from the other scans."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.audit.measure import KINDS, Measure

SCORE = 3.0
"""Minimum score to be listed, in robust deviations from the other scans."""

FEWEST = 5
"""Number of scans below which a structure is compared with 0 instead of its distribution."""

MIN_VOLUME_SHARE = 0.25
"""Minimum predicted volume of a structure that counts as "not drawn", as a share of its median."""

_MAD = 1.4826


@dataclass(frozen=True)
class Finding:
    """A listed measure; `score` is in robust deviations from the other scans."""

    scan: str
    measure: Measure
    score: float


def ranked(measures: Mapping[str, Sequence[Measure]], least: float = SCORE) -> list[Finding]:
    """Return the measures that deviate from the other scans, highest score first.

    A value is compared with the median of its kind and structure over all scans, in units of their
    median absolute deviation; so a structure that is hard in every scan is not listed.
    """
    groups: dict[tuple[str, str], list[Measure]] = defaultdict(list)
    for scan_measures in measures.values():
        for measure in scan_measures:
            groups[measure.kind, measure.structure].append(measure)
    spread = {key: _spread([m.value for m in group]) for key, group in groups.items()}
    volumes = {key: float(np.median([m.volume for m in group])) for key, group in groups.items()}
    listed = []
    for scan, scan_measures in measures.items():
        findings = []
        for measure in scan_measures:
            kind, key = KINDS[measure.kind], (measure.kind, measure.structure)
            centre, scale = spread[key]
            deviation = measure.value - centre
            size = abs(deviation) if kind.signed else min(deviation, measure.value)
            score = size / (scale + kind.floor)
            small = measure.kind == "not_drawn" and measure.volume < MIN_VOLUME_SHARE * volumes[key]
            if size >= kind.least and score >= least and not small:
                findings.append(Finding(scan, measure, score))
        listed += unexplained(findings)
    return sorted(listed, key=lambda finding: (-finding.score, finding.scan))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < FEWEST:
        return 0.0, 0.0
    centre = float(np.median(values))
    return centre, _MAD * float(np.median(np.abs(np.array(values) - centre)))


def unexplained(found: Iterable[Finding]) -> list[Finding]:
    """Remove findings of one scan that another of its findings explains.

    A displacement of all labels explains all findings of later kinds.
    """
    order = list(KINDS)
    remaining: list[Finding] = []
    explained: set[int] = set()
    all_explained = False
    ordered = sorted(found, key=lambda f: (order.index(f.measure.kind), -f.score))
    for finding in ordered:
        leaves, kind = set(finding.measure.leaves), finding.measure.kind
        if kind != "shift" and (all_explained or leaves & explained):
            continue
        remaining.append(finding)
        all_explained |= kind == "shift"
        if KINDS[kind].explains and kind != "contradiction":
            explained |= leaves
    return remaining
