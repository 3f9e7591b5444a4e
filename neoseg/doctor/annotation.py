"""Summarise the annotations of a plan, by part of the split and stream."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from neoseg.cohort import Source
from neoseg.cohort.split import SPLITS
from neoseg.findings.markup import markdown_rows

COLUMNS = ("part", "stream", "annotation", "scans", "subjects", "structures known")


@dataclass(frozen=True)
class Annotated:
    """Rows of `COLUMNS`, one for each kind of annotation in each part of the split."""

    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, source: Source) -> Annotated:
        """Count the scans and subjects of a plan for each kind of annotation."""
        groups: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
        for part in SPLITS:
            for scan, item in source.of_split(part):
                known = source.known(scan, item)
                groups[part, item.stream, item.protocol, known].append(scan.subject)
        return cls(
            tuple(
                (*key[:3], str(len(subjects)), str(len(set(subjects))), key[3])
                for key, subjects in groups.items()
            )
        )

    def text(self) -> str:
        """Return the table for a screen."""
        lines = [COLUMNS, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = (zip(line, widths, strict=True) for line in lines)
        table = ("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)
        return "\n".join(["Who is annotated how:", *(f"  {line}" for line in table)])

    def markdown(self) -> str:
        """Return the table for a report."""
        return markdown_rows(COLUMNS, self.rows)
