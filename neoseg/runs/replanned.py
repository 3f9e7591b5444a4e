"""Compare who is annotated how in a started run with what the data and settings give now."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neoseg.cohort import Plan
from neoseg.cohort.annotation import Assignment, read_plan
from neoseg.cohort.scan import scan_id
from neoseg.findings.command_line import override, quoted
from neoseg.findings.problems import shorten
from neoseg.foreign.values import value_at
from neoseg.runs.people import PLAN, recorded_keys

Key = tuple[str, str]
"""Name of the cohort and id of the scan."""


@dataclass(frozen=True)
class Replanned:
    """How the plan of a started run differs from that of now; nothing is there without a run.

    Attributes:
        new: scans that the cohorts have now and had not then.
        gone: the other way round.
        other: scans that are for another part or annotated otherwise, and how.
    """

    new: tuple[Key, ...] = ()
    gone: tuple[Key, ...] = ()
    other: tuple[str, ...] = ()

    @classmethod
    def compare(cls, plan: Plan, folder: Path) -> "Replanned":
        """Compare `annotation.csv` of a run, if there is one, with a plan."""
        path, first = folder / PLAN, plan.sources[0].cohort.name
        if not path.is_file():
            return cls()
        recorded = read_plan(path, first)
        if recorded == plan.assignments:
            return cls()
        was, now = _by_scan(recorded, first), _by_scan(plan.assignments, first)
        had = recorded_keys(folder).keys() | was.keys()
        has = {(s.cohort.name, scan.id) for s in plan.sources for scan in s.cohort.scans}
        other = tuple(
            f"{key[1]}: {_difference(was.get(key), now.get(key))}"
            for key in sorted(had & has)
            if was.get(key) != now.get(key)
        )
        return cls(tuple(sorted(has - had)), tuple(sorted(had - has)), other)

    def lines(self, folder: Path) -> list[str]:
        """Return what differs as one line, none if nothing does."""
        parts = [
            f"{len(keys)} scans are {how} ({shorten('/'.join(key) for key in keys)})"
            for keys, how in ((self.new, "new"), (self.gone, "gone"))
            if keys
        ]
        if self.other:
            parts.append(f"{len(self.other)} are for something else ({shorten(self.other, 3)})")
        found = (
            f"{folder / PLAN} says who was annotated how when the run started, and the cohort, "
            f"split or annotation gives another plan now: {', '.join(parts)}"
        )
        return [found] if parts else []

    def without_new(self, plan: Plan, content: Mapping[str, Any]) -> list[str]:
        """Return overrides that leave out the new scans, quoted for a shell.

        There are none if no scan is new, or if others are gone, so that the run cannot be as it
        was. `content` are the settings of now, as plain containers.
        """
        overrides = []
        for number, source in enumerate(plan.sources if not self.gone else ()):
            name = source.cohort.name
            scans = [s for s in source.cohort.scans if (name, s.id) in self.new]
            old = {s.subject for s in source.cohort.scans if (name, s.id) not in self.new}
            if scans:
                key = "cohort.exclude" if number == 0 else f"extra_cohorts.{name}.cohort.exclude"
                names = [str(value) for value in value_at(content, key) or ()]
                names += [
                    s.id.removeprefix("sub-") if s.subject in old else s.subject for s in scans
                ]
                overrides.append(
                    override(f"++{key}", f"[{','.join(map(quoted, dict.fromkeys(names)))}]")
                )
        return overrides


def _by_scan(assignments: tuple[Assignment, ...], first: str) -> dict[Key, Assignment]:
    named = (replace(item, cohort=item.cohort or first) for item in assignments)
    return {(item.cohort, scan_id(item.subject, item.session)): item for item in named}


def _difference(was: Assignment | None, now: Assignment | None) -> str:
    """Return in what two assignments of a scan differ."""
    before, after = (
        ("not used",) * 3 if item is None else (item.split, item.stream, item.protocol)
        for item in (was, now)
    )
    pairs = zip(before, after, strict=True)
    return "; ".join(dict.fromkeys(f"{old}, now {new}" for old, new in pairs if old != new))
