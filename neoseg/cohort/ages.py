"""Parse post-menstrual ages in weeks from table text in any supported unit."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg.cohort.scan import TERM_AGE
from neoseg.cohort.sidecar import Sidecar, other_age
from neoseg.findings.markup import NUMBER
from neoseg.findings.problems import Problems, shorten

MISSING_TEXT = frozenset({"", "n/a", "na", "nan", "none", "unknown"})
MISSING_NUMBERS = frozenset({-999.0, 0.0})
AGE_RANGE = (15.0, 60.0)
"""Plausible range of the post-menstrual age of a fetal or neonatal scan, in weeks."""

BIRTH_RANGE = (22.0, 43.0)
"""Range of the age at birth of those who live, in weeks."""

LATE, MANY, WIDE = 50.0, 0.2, 25.0
"""Numbers without a unit may be years if this share of them, and more than one, is above `LATE`,
and they range over more than `WIDE`: infants of three months and preterm babies hardly do."""

DAYS = (100.0, 330.0)
"""Numbers in this range are days if they are post-menstrual ages at all."""

WEEKS_AND_DAYS = re.compile(
    r"(\d\d) ?(?:\+|w(?:ee)?k?s?\.?) ?([0-6])(?: ?d(?:ays?)?|/7)?", re.I | re.A
)
"""An age such as 28+3 or 28w3d."""

UNKNOWN_AGE = "the age is taken as not known"

WEEKS = {
    "weeks": 1.0,
    "week": 1.0,
    "w": 1.0,
    "wk": 1.0,
    "wks": 1.0,
    "days": 1 / 7,
    "day": 1 / 7,
    "d": 1 / 7,
}
"""Units of a post-menstrual age, in weeks; ages in years and months count from birth."""

OTHER_UNITS = frozenset(
    [*("months", "month", "mos", "mo", "m"), *("years", "year", "yrs", "yr", "y", "hours", "h")]
)

LATER_SESSION = re.compile(r"0*(\d{1,3})(?:m|mos?|months?|ys?|yrs?|years?)", re.I | re.ASCII)
"""Names of sessions of so many months or years."""


@dataclass(frozen=True)
class Ages:
    """Post-menstrual age in weeks at birth and at the scan, None if unknown.

    `fetal`: the data set says that it is the scan of a fetus.
    """

    birth: float | None = None
    scan: float | None = None
    fetal: bool = False

    @property
    def before_birth(self) -> bool:
        """Whether the scan was before birth."""
        return self.birth is not None and self.scan is not None and self.scan < self.birth

    def filled(self, other: Ages) -> Ages:
        """Return these ages, with unknown ones taken from `other`."""
        scanned = other if self.scan is None else self
        return Ages(self.birth or other.birth, scanned.scan, scanned.fetal)


def parse_age(text: str, where: str, problems: Problems, unit: float = 1.0) -> float | None:
    """Parse an age in units of `unit` weeks and return it in weeks.

    Missing values give None; impossible ones give None and a warning.
    """
    if text.casefold() in MISSING_TEXT:
        return None
    # float() accepts more than numbers of a table: it reads 4_0 as 40.
    age = float(text) if NUMBER.fullmatch(text) else None
    if age is None:
        meant = text.replace(",", ".", 1)
        if unit == 1 and (parts := WEEKS_AND_DAYS.fullmatch(text)):
            meant = f"{int(parts[1]) + int(parts[2]) / 7:.4g}"
        expected = f"weeks with a point, {meant}" if NUMBER.fullmatch(meant) else "weeks, or n/a"
        problems.warn(where, f"found {text!r}", expected, UNKNOWN_AGE, "impossible-age")
        return None
    if age in MISSING_NUMBERS:
        return None
    age *= unit
    low, high = AGE_RANGE
    if not low <= age <= high:
        may_be_days = unit == 1 and DAYS[0] <= age <= DAYS[1]
        problems.warn(
            where,
            f"found {text}" + ("" if unit == 1 else f", which is {age:.4g} weeks"),
            f"{low:g} to {high:g} weeks of post-menstrual age"
            + (f", {age / 7:.4g} if these are days" if may_be_days else ""),
            UNKNOWN_AGE,
            "impossible-age",
        )
        return None
    return age


def seem_fetal(ages: Iterable[Ages]) -> bool:
    """Return whether at least half of the scans, and more than one, seem to be of fetuses.

    They are before birth, mostly before term, and all are born at an age at which people are born;
    newborns whose two ages were exchanged are not. Those said to be fetal do not count.
    """
    both = [age for age in ages if not age.fetal and age.birth is not None and age.scan is not None]
    early = [age for age in both if age.before_birth]
    preterm = sum((age.scan or 0) < TERM_AGE for age in early)
    low, high = BIRTH_RANGE
    return (
        len(early) > 1
        and 2 * len(early) >= len(both)
        and 2 * preterm > len(early)
        and all(low <= (age.birth or 0) <= high for age in early)
    )


def units_of(
    path: Path,
    columns: Collection[str],
    rows: Sequence[Mapping[str, str]],
    sessions: Sequence[str | None],
    sidecar: Sidecar,
    problems: Problems,
) -> dict[str, float | None]:
    """Return the unit, in weeks, of each age column; None if the column cannot be used.

    The unit is that of the sidecar. Without an entry there, `age`, which BIDS defines in years, is
    not used, and the columns specific to newborns are in weeks, unless their numbers look like
    days or years, or those of `sessions`, one a row, like their own months or years.
    """
    units: dict[str, float | None] = {}
    for column in columns:
        unit = sidecar.unit(column)
        units[column] = _weeks_of(
            ("years" if column == "age" else "weeks") if unit is None else unit
        )
        texts = [row[column] for row in rows]
        fault = _fault(column, units[column], texts, sessions, sidecar)
        if fault is not None:
            units[column] = None
            found, remedy = fault
            problems.warn(
                f"{path} column {column}",
                found,
                "weeks of post-menstrual age",
                f"{UNKNOWN_AGE}; {remedy}",
                "impossible-age",
            )
    return units


def _weeks_of(unit: str) -> float | None:
    """Return the weeks of the unit that begins a text, or is the only one in it; None otherwise."""
    text = unit.casefold()
    first = (text.split() or [""])[0].strip("(),.;")
    if first in WEEKS:
        return WEEKS[first]
    words = [word for word in re.findall("[a-z]+", text) if word in WEEKS or word in OTHER_UNITS]
    named = {WEEKS.get(word) for word in words}
    return named.pop() if len(named) == 1 else None


def _fault(
    column: str,
    weeks: float | None,
    texts: Sequence[str],
    sessions: Sequence[str | None],
    sidecar: Sidecar,
) -> tuple[str, str] | None:
    """Return why a column cannot be used, and what helps; None if it can."""
    unit, file = sidecar.unit(column), sidecar.file(column)
    if other := other_age(column, sidecar.text(column)):
        remedy = f"add a column scan_age with that age at the scan, or correct {file}"
        return f"{other} by {file}", remedy
    in_weeks, in_days = (
        f"write {json.dumps({column: {'Units': name}})} into {file}" for name in ("weeks", "days")
    )
    if unit is None and (span := _span_of_days(texts)):
        found = f"has no unit, and numbers from {span[0]:g} to {span[1]:g}, which may be days"
        return f"{found} (168 days are 24 weeks)", f"if they are days, {in_days}"
    if unit is None and weeks and (named := _named_alike(texts, sessions)):
        found = f"has no unit, and the numbers of the sessions {shorten(named, 3)}"
        return f"{found}, which may be months or years", f"if they are weeks, {in_weeks}"
    if unit is None and (span := _span_of_years(texts)):
        found = f"has no unit, and numbers from {span[0]:g} to {span[1]:g}, which may be years"
        return found, f"if they are weeks, {in_weeks}"
    if weeks is None:
        found = "is in years, as BIDS has it" if unit is None else f"is in {unit!r} by {file}"
        rename = "call the column scan_age, or " if column == "age" else ""
        return found, f"if they are weeks, {rename}{in_weeks}"
    return None


def _named_alike(texts: Iterable[str], sessions: Iterable[str | None]) -> list[str]:
    """Return the sessions, such as `24mo`, whose names have their number.

    There are none unless that is so for most sessions with such a name.
    """
    named = [
        (session, abs(float(text) - int(match[1])) < 0.5)
        for text, session in zip(texts, sessions, strict=True)
        if NUMBER.fullmatch(text) and (match := LATER_SESSION.fullmatch(session or ""))
    ]
    alike = [f"ses-{session}" for session, is_equal in named if is_equal]
    return sorted(set(alike)) if 2 * len(alike) > len(named) else []


def _span_of_days(texts: Iterable[str]) -> tuple[float, float] | None:
    """Return the least and the largest number if most of them may be days; None otherwise."""
    numbers = _numbers(texts)
    days = sum(DAYS[0] <= number <= DAYS[1] for number in numbers)
    return (min(numbers), max(numbers)) if 2 * days > len(numbers) else None


def _span_of_years(texts: Iterable[str]) -> tuple[float, float] | None:
    """Return the least and the largest of numbers that may be years; None if they may not."""
    numbers = [number for number in _numbers(texts) if number < DAYS[0]]
    late = sum(number > LATE for number in numbers)
    if late < 2 or late < MANY * len(numbers) or max(numbers) - min(numbers) <= WIDE:
        return None
    return min(numbers), max(numbers)


def _numbers(texts: Iterable[str]) -> list[float]:
    numbers = [float(text) for text in texts if NUMBER.fullmatch(text)]
    return [number for number in numbers if number not in MISSING_NUMBERS]
