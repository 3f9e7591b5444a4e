"""Plan which scan is annotated how deep."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import cast

from pydantic import Field, model_validator

from neoseg.cohort.scan import Scan
from neoseg.cohort.split import SPLITS, Split, shuffled
from neoseg.cohort.table import read_rows, write_rows
from neoseg.findings.problems import CohortError, Problems, shorten
from neoseg.findings.settings import Section
from neoseg.labels import STREAMS, LabelSpace, Protocol, Stream
from neoseg.labels.protocol import ProtocolRow

log = logging.getLogger(__name__)

COLUMNS = ("cohort", "subject", "session", "split", "stream", "protocol")
FULL, UNLABELLED = "full", "unlabelled"
"""Names of the protocols that tell everything and nothing."""


class AnnotationSettings(Section):
    """What a user writes in `conf/annotation/*.yaml`.

    Fractions are of the training subjects that have labels. `protocol` is that of the training
    subjects which are neither fully labelled nor unlabelled; they are used unless `use_rest` is
    false, which leaves the fully labelled ones alone.
    """

    full_fraction: float = Field(gt=0, le=1)
    draw: int = Field(default=0, ge=0)
    use_rest: bool = True
    unlabelled_fraction: float = Field(default=0.0, ge=0, lt=1)
    protocol: ProtocolRow

    @model_validator(mode="after")
    def _consistent(self) -> AnnotationSettings:
        total = self.full_fraction + self.unlabelled_fraction
        if total > 1 + 1e-9:
            raise ValueError(
                f"full_fraction and unlabelled_fraction add up to {total:g}, at most 1 is possible"
            )
        row = self.protocol
        hides = bool(row.merge or row.missing or row.slices or row.unlabelled)
        if (row.name == FULL and hides) or (row.name == UNLABELLED and not row.unlabelled):
            raise ValueError(
                f"the protocol name '{row.name}' is taken by the one that tells "
                f"{'everything' if row.name == FULL else 'nothing'}; use another name"
            )
        return self

    @property
    def needs_labels(self) -> bool:
        """Whether a cohort without any label file cannot be annotated so."""
        return True

    def protocols(self, space: LabelSpace) -> dict[str, Protocol]:
        """Return the protocols that a plan can name; raises `LabelError` for unknown structures."""
        own = Protocol.parse(space, self.protocol.model_dump())
        return {FULL: Protocol.full(space), UNLABELLED: Protocol.unlabelled(space), own.name: own}


class ExtraAnnotationSettings(AnnotationSettings):
    """The same for a further cohort of a run, which need not have a fully labelled subject."""

    full_fraction: float = Field(default=1.0, ge=0, le=1)
    protocol: ProtocolRow = ProtocolRow(name=FULL)

    @property
    def needs_labels(self) -> bool:
        """Whether something is known of the scans at all."""
        return self.full_fraction > 0 and not self.protocol.unlabelled


@dataclass(frozen=True)
class Assignment:
    """How one scan is annotated. `stream` is the share of a batch that it is drawn for."""

    subject: str
    session: str | None
    split: str
    stream: Stream
    protocol: str
    cohort: str = ""


def plan_annotation(
    scans: Sequence[Scan], split: Split, settings: AnnotationSettings
) -> tuple[Assignment, ...]:
    """Assign every scan a stream and a protocol, sorted by subject and session.

    The training subjects with labels are put in an order that depends on their ids and the draw
    alone, except that those in whom a structure was not drawn come last. The first `full_fraction`
    of them (rounded, at least one unless it is 0) are fully labelled, the last
    `unlabelled_fraction` unlabelled, the others get the protocol; so the subjects of a smaller
    fraction are among those of a larger one. Scans without label file are unlabelled; those of
    validation and test are otherwise full. Without `use_rest` the plan leaves out every training
    scan that is not full.

    Raises:
        CohortError: subjects that no split has, or no labelled training subject where the
            settings need one.
    """
    problems = Problems()
    homeless = sorted({scan.subject for scan in scans if split.of(scan.subject) is None})
    if homeless:
        problems.error(
            "split", f"lacks the subjects {shorten(homeless)}", action="split the cohort again"
        )
    labelled = {scan.subject for scan in scans if scan.label is not None}
    order = shuffled((s for s in split.train if s in labelled), "annotation", settings.draw)
    order = sorted(order, key={scan.subject for scan in scans if scan.not_drawn}.__contains__)
    if not order and settings.needs_labels:
        problems.error(
            "training split",
            f"has no subject with labels among its {len(split.train)}",
            "at least one",
            "check cohort.labels or label_desc, or change the split",
        )
    problems.settle("annotation plan")

    # Halves round up, so that the count never falls where the fraction grows.
    least = min(len(order), int(settings.full_fraction > 0))
    number = min(len(order), max(least, floor(settings.full_fraction * len(order) + 0.5)))
    bare = min(len(order) - number, floor(settings.unlabelled_fraction * len(order) + 0.5))
    full = frozenset(order[:number])
    unlabelled = frozenset(order[len(order) - bare :])
    row = settings.protocol
    rest: Stream = "unlabelled" if row.unlabelled else "full" if row.name == FULL else "partial"
    assignments = []
    for scan in sorted(scans, key=lambda s: (s.subject, s.session or "")):
        part = cast(str, split.of(scan.subject))
        stream, protocol = rest, row.name
        if scan.label is None or scan.subject in unlabelled:
            stream, protocol = "unlabelled", UNLABELLED
        elif part != "train" or scan.subject in full:
            stream, protocol = "full", FULL
        is_rest = part == "train" and (scan.subject not in full or scan.label is None)
        if settings.use_rest or not is_rest:
            key = (scan.subject, scan.session)
            assignments.append(Assignment(*key, part, stream, protocol, scan.cohort))
    log.info("annotation plan: %s", _summary(assignments))
    return tuple(assignments)


def _summary(assignments: Iterable[Assignment]) -> str:
    counts = Counter((item.split, item.stream) for item in assignments)
    return ", ".join(f"{n} {split} scans {stream}" for (split, stream), n in sorted(counts.items()))


def write_plan(path: Path, assignments: Iterable[Assignment]) -> None:
    """Write the table cohort, subject, session, split, stream, protocol."""
    write_rows(path, COLUMNS, ([getattr(item, key) for key in COLUMNS] for item in assignments))


def read_plan(path: str | Path, cohort: str = "") -> tuple[Assignment, ...]:
    """Read a table that `write_plan` wrote or a user edited.

    `cohort` is that of scans in tables of earlier versions, which have no such column.

    Raises:
        CohortError: listing unknown splits and streams, and scans with two rows.
    """
    path = Path(path)
    problems = Problems()
    found: dict[tuple[str, str, str | None], Assignment] = {}
    allowed = {"split": SPLITS, "stream": STREAMS}
    for number, row in enumerate(read_rows(path, COLUMNS[1:], problems), start=2):
        where = f"{path} row {number}"
        scan = (row["subject"], row["session"] or None)
        key = (row.get("cohort") or cohort, *scan)
        for column, values in allowed.items():
            if row[column] not in values:
                problems.error(where, f"found {column} {row[column]!r}", f"one of {values}")
        if key in found:
            problems.error(where, f"names the scan {scan} again", "one row for each scan")
        stream = cast(Stream, row["stream"])
        found[key] = Assignment(*scan, row["split"], stream, row["protocol"], key[0])
    if problems.errors:
        raise CohortError(f"{path} is not a valid annotation plan:", tuple(problems.errors))
    return tuple(found.values())
