"""Find label files whose integers stand for other structures than in the rest of their cohort."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from neoseg.cohort import Cohort, Problem
from neoseg.findings.problems import shorten, warning
from neoseg.store.brightness import sampled
from neoseg.store.examined import Examined

MIN_SCANS, MAX_KNOWN = 3, 5
"""Least number of labelled scans; most of the usual ones with which the others are compared."""

MIN_RATIO, MIN_SPREADS, MIN_SHARE = 1.5, 3.0, 0.1
"""A structure is of unusual size if its share of what is drawn is that many times the median of all
scans, or a part, and as many median deviations away from it. Scans are looked at in which more than
`MIN_SHARE` of the structures are so, and more than one."""

MIN_SHOWN = 0.7
"""Least number of structures that a scan shows, as a share of what is usual: where few were drawn,
their shares and places say nothing."""

UNIT = np.array([math.log(1.5), 0.25, 0.25, 0.25])
"""What counts as a difference of one between structures: of the logarithm of their share of what is
drawn, and of their centres along each axis, in standard deviations of all that is drawn."""

NEAR, FAR = 1.0, 1.5
"""Most by which what an integer shows may differ from the structure that it is taken for, and least
from the one that it stands for."""


def other_tables(cohort: Cohort, examined: Sequence[Examined]) -> Iterator[Problem]:
    """Warn of scans in which several integers look like those of other structures elsewhere.

    Only scans in which several structures have an unusual size are looked at.
    """
    meaning = cohort.convention
    pairs = enumerate(meaning.sets)
    codes = [c for c, s in pairs if len(s) == 1 and meaning.space.background not in s]
    items = [
        item
        for item in examined
        if item.entry is not None
        and any(item.voxels[code] for code in codes if item.voxels)
        and item.scan.meaning(meaning) == meaning
    ]
    if len(items) < MIN_SCANS or len(codes) < 2:
        return
    voxels = np.array([item.voxels for item in items], float)[:, codes]
    with np.errstate(divide="ignore"):
        size = np.log(voxels / voxels.sum(axis=1, keepdims=True))
    apart = np.abs(np.where(voxels > 0, size, np.nan) - _usual(size))
    limit = np.maximum(math.log(MIN_RATIO), MIN_SPREADS * _usual(apart))
    differs = (apart > limit).sum(axis=1) > max(1, MIN_SHARE * len(codes))
    shown = (voxels > 0).sum(axis=1)
    unusual = np.flatnonzero(differs & (shown >= MIN_SHOWN * np.median(shown)))
    usual = np.flatnonzero(~differs)
    if not len(unusual) or 2 * len(usual) <= len(items):
        return
    known = usual[:: math.ceil(len(usual) / MAX_KNOWN)]
    looks = _usual(np.array([_looks(items[n], codes) for n in known]))
    groups = defaultdict[tuple[tuple[int, int], ...], list[Examined]](list)
    for number in unusual:
        if exchanged := _exchanged(_looks(items[number], codes), looks):
            groups[exchanged].append(items[number])
    names = {value: meaning.name(code) for code, value in enumerate(meaning.values)}
    for exchanged, found in groups.items():
        like = {meaning.values[codes[a]]: meaning.name(codes[b]) for a, b in exchanged}
        counts = np.sum([item.voxels for item in found], axis=0)
        kept = {v: name for v, name in names.items() if counts[meaning.values.index(v)]}
        written = ", ".join(f"{value}: {name}" for value, name in (kept | like).items())
        yield warning(
            f"cohort '{cohort.name}'",
            "integers look like other structures than in most scans ("
            + shorten((f"{value} ({names[value]}) like {name}" for value, name in like.items()), 12)
            + f") in {len(found)} of {len(items)}: {shorten((i.scan.label for i in found), 4)}",
            "one meaning of each integer, by size and place",
            "look at these files: if they follow another table, name them in annotation.file, with "
            "a protocol that has the names of that table, such as "
            f"{{describes: true, convention: {{{written}}}}}",
            "other-integers",
        )


def _usual(values: np.ndarray) -> np.ndarray:
    """Return the median along the first axis of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    columns = np.where(finite.any(axis=0), values, 0)
    median = np.nanmedian(np.where(np.isfinite(columns), columns, np.nan), axis=0)
    return np.asarray(np.where(finite.any(axis=0), median, np.nan))


def _looks(item: Examined, codes: Sequence[int]) -> np.ndarray:
    """Return `[codes, 4]` in units of `UNIT`: log share of what is drawn, and centre (x, y, z).

    Rows are NaN for codes that the scan does not show.
    """
    assert item.entry is not None
    volume = sampled(item.entry.read_codes())
    spacing = np.array(item.entry.geometry.spacing)
    places = np.argwhere(np.isin(volume, codes))
    of = volume[tuple(places.T)]
    places = places * spacing
    middle, width = places.mean(axis=0), places.std(axis=0).mean()
    result = np.full((len(codes), 4), np.nan)
    for row, code in enumerate(codes):
        own = places[of == code]
        if len(own):
            centre = (own.mean(axis=0) - middle) / width
            result[row] = [math.log(len(own) / len(places)), *centre]
    return np.asarray(result / UNIT)


def _exchanged(shown: np.ndarray, known: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return (row of an integer, row of the structure that it looks like) of exchanged ones.

    They are several, and none looks like a structure whose own integer looks as it should.
    """
    distance = cdist(shown, known) / 2  # root mean square
    distance = np.nan_to_num(distance, nan=1e3)
    rows, columns = linear_sum_assignment(np.minimum(distance, FAR + NEAR))
    other = distance.diagonal() >= FAR
    moved = tuple(
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if row != column and other[row] and other[column] and distance[row, column] <= NEAR
    )
    return moved if len(moved) > 1 else ()
