"""The problems found in one pass over a cohort, as text, Markdown and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoseg.cohort import CohortError, Problem, Scan
from neoseg.doctor.annotation import Annotated
from neoseg.doctor.structures import Structures
from neoseg.files import write_json, write_text
from neoseg.findings.kinds import KINDS
from neoseg.findings.markup import markdown_rows

FORMAT = 1
"""Version of `report.json`."""

LISTED = 10
"""Maximum number of problems of one kind shown on a screen; the files list all."""


@dataclass(frozen=True)
class Diagnosis:
    """Errors and warnings about a cohort, and the `good` scans, which can be used.

    `structures` counts the structures in the label files, if there are any; `annotated` summarises
    the annotation plan, if there is one.
    """

    cohort: str
    good: tuple[Scan, ...]
    problems: tuple[Problem, ...]
    structures: Structures | None = None
    annotated: Annotated | None = None

    @classmethod
    def of_error(cls, cohort: str, error: CohortError) -> Diagnosis:
        """Return the diagnosis of a cohort whose reader failed with an error."""
        problems = error.problems or (Problem(f"cohort '{cohort}'", str(error)),)
        return cls(cohort, (), (*problems, *error.warnings))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that prevent scans, or the whole cohort, from being used."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The other problems."""
        return tuple(p for p in self.problems if p.severity == "warning")

    @property
    def skipped(self) -> tuple[str, ...]:
        """Sorted ids of the scans that cannot be used."""
        return tuple(sorted({scan for problem in self.errors for scan in problem.scans}))

    @property
    def usable(self) -> bool:
        """Whether the cohort can be used without the skipped scans."""
        return bool(self.good) and all(problem.scans for problem in self.errors)

    def groups(self) -> Iterator[tuple[str, str, list[Problem]]]:
        """Yield (severity, kind, problems), errors first, kinds in the order of `KINDS`."""
        for severity, problems in (("error", self.errors), ("warning", self.warnings)):
            for kind in KINDS:
                members = [problem for problem in problems if problem.kind == kind]
                if members:
                    yield severity, kind, members

    def summary(self) -> str:
        """Return one line with the number of scans and subjects, by age group and with labels."""
        ages = Counter(scan.age_group for scan in self.good)
        unknown = ages.pop("unknown", 0)
        groups = [f"{count} {group}" for group, count in sorted(ages.items())]
        groups += [f"{unknown} of unknown age"] if unknown and groups else []
        subjects = len({scan.subject for scan in self.good})
        labelled = sum(scan.label is not None for scan in self.good)
        return (
            f"cohort '{self.cohort}': {len(self.good)} usable scans of {subjects} subjects"
            + (f" ({', '.join(groups)})" if groups else "")
            + (f", {labelled} with labels" if self.good else "")
            + f"; {len(self.errors)} errors, {len(self.warnings)} warnings"
        )

    def text(self, listed: int | None = LISTED) -> str:
        """Return all groups of problems for a screen, with at most `listed` problems each."""
        lines = []
        for severity, kind, members in self.groups():
            lines.append(f"{severity.upper()} {KINDS[kind]} [{kind}], {len(members)}:")
            lines += [f"  - {problem}" for problem in members[:listed]]
            more = len(members) - len(members[:listed])
            lines += [f"    and {more} more, see the report"] if more else []
        if self.annotated is not None:
            lines.append(self.annotated.text())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON."""
        return {
            "format": FORMAT,
            "cohort": self.cohort,
            "usable_scans": len(self.good),
            "skipped_scans": list(self.skipped),
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "problems": [
                problem.to_dict() | {"title": KINDS[kind]}
                for _, kind, members in self.groups()
                for problem in members
            ],
            "shown": None if self.structures is None else self.structures.to_dict(),
            "annotated": [] if self.annotated is None else [*map(list, self.annotated.rows)],
        }

    def markdown(self) -> str:
        """Return the report in Markdown, with a table for each kind of problem."""
        lines = [f"# Examination of cohort '{self.cohort}'", "", self.summary() + ".", ""]
        for severity, kind, members in self.groups():
            lines += [f"## {severity.capitalize()}: {KINDS[kind]} (`{kind}`)", ""]
            rows = ((p.where, p.found, p.expected, p.action) for p in members)
            lines.append(markdown_rows(("where", "found", "expected", "what to do"), rows))
        if not self.problems:
            lines += ["Nothing was found.", ""]
        if self.structures is not None:
            lines += ["## Structures in the label files", "", self.structures.markdown()]
        if self.annotated is not None:
            lines += ["## Who is annotated how", "", self.annotated.markdown()]
        return "\n".join(lines)

    def write(self, path: Path) -> Path:
        """Write the report to `path` with suffixes `.json` and `.md`; return the latter path."""
        write_json(path.with_suffix(".json"), self.to_dict(), indent=1, ensure_ascii=False)
        write_text(path.with_suffix(".md"), self.markdown())
        return path.with_suffix(".md")
