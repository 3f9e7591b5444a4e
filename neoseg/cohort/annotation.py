"""Plan the annotation of each scan: its stream and its protocol."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, field_validator, model_validator

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
"""Names of the protocols that label everything and nothing."""


class AnnotationSettings(Section):
    """Settings of `conf/annotation/*.yaml`.

    Fractions are of the training subjects that have labels. `protocol` applies to the training
    subjects that are neither fully labelled nor unlabelled; with `use_rest` false, only the fully
    labelled subjects are used, also of extra cohorts if it is false for the first cohort.

    `file` is a table of annotations (see `with_annotation`), which may use the names in
    `protocols`; `full` lists the fully labelled subjects or scans, or is a table with a column
    `subject`. Fractions are then of the subjects that neither names; with `full`, no others are
    full.
    """

    full_fraction: float | None = Field(gt=0, le=1)
    draw: int = Field(default=0, ge=0)
    use_rest: bool = True
    unlabelled_fraction: float = Field(default=0.0, ge=0, lt=1)
    protocol: ProtocolRow
    file: Path | None = None
    full: tuple[str | int, ...] | Path | None = None
    protocols: dict[str, ProtocolRow] | None = None
    subset: bool = False
    validation: Literal["full", "as_training", "none"] = "full"

    @field_validator("protocols", mode="before")
    @classmethod
    def _keys_are_names(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {k: {**row, "name": k} if isinstance(row, dict) else row for k, row in raw.items()}

    @model_validator(mode="after")
    def _consistent(self) -> AnnotationSettings:
        named = self.file is not None or self.full is not None
        if self.full_fraction is None and not named:
            raise ValueError(
                "full_fraction is null, and nothing says who is fully labelled; give the table "
                "that does, annotation.file=FILE, or annotation.full=[...]"
            )
        if self.protocol.describes and self.full_fraction and not named:
            raise ValueError(
                f"the protocol '{self.protocol.name}' describes files, and who is fully labelled "
                "is drawn; name those subjects with full=[...] (full=[]: nobody), or everybody's "
                "annotation in a file"
            )
        total = (self.full_fraction or 0.0) + self.unlabelled_fraction
        if total > 1 + 1e-9:
            raise ValueError(
                f"full_fraction and unlabelled_fraction add up to {total:g}, at most 1 is possible"
            )
        row, hides = self.protocol, self.protocol != ProtocolRow(name=self.protocol.name)
        others = {name for name, other in (self.protocols or {}).items() if other != row}
        reserved = {FULL, UNLABELLED, row.name} & others
        if (row.name == FULL and hides) or (row.name == UNLABELLED and not row.unlabelled):
            reserved.add(row.name)
        for name in sorted(reserved):
            suffixes = {
                FULL: " by the built-in one for full labels",
                UNLABELLED: " by the built-in one without labels",
            }
            raise ValueError(
                f"the protocol name '{name}' is taken{suffixes.get(name, '')}; use another name"
            )
        return self

    @property
    def needs_labels(self) -> bool:
        """Whether these settings require at least one label file in the cohort."""
        return True

    def resolved(self, space: LabelSpace) -> dict[str, Protocol]:
        """Return the protocols of a plan by name; raise `LabelError` for unknown structures."""
        rows = (self.protocol, *(self.protocols or {}).values())
        configured = {row.name: Protocol.parse(space, row.model_dump()) for row in rows}
        return {FULL: Protocol.full(space), UNLABELLED: Protocol.unlabelled(space)} | configured


class ExtraAnnotationSettings(AnnotationSettings):
    """Settings for an extra cohort of a run, which needs no fully labelled subject."""

    full_fraction: float | None = Field(default=1.0, ge=0, le=1)
    protocol: ProtocolRow = ProtocolRow(name=FULL)

    @property
    def needs_labels(self) -> bool:
        """Whether labels are required: if some subject is full and `protocol` is not unlabelled."""
        return bool(self.full_fraction or self.full) and not self.protocol.unlabelled


@dataclass(frozen=True)
class Assignment:
    """The annotation of one scan. `stream` is the part of a batch that the scan is drawn for."""

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

    The training subjects with labels are ordered by a hash of their ids and the draw, except that
    those with a structure that was not drawn come last. The first `full_fraction` of them (rounded,
    at least one unless it is 0) are fully labelled, the last `unlabelled_fraction` unlabelled, and
    the others get the protocol; so the subjects of a smaller fraction are among those of a larger
    one. Scans without a label file are unlabelled. Scans with a protocol named by the user keep it
    and are not part of the draw.

    Validation and test scans are full, or as described for their files; `validation` can give
    validation scans the same protocols as training, or leave them out. Without `use_rest`, the plan
    leaves out every training scan that is not full.

    Raises:
        CohortError: a subject is in no split, or no training subject has labels and the settings
            need one.
    """
    problems = Problems()
    without_split = sorted({scan.subject for scan in scans if split.of(scan.subject) is None})
    if without_split:
        found = f"lacks the subjects {shorten(without_split)}"
        problems.error("split", found, action="split the cohort again")
    labelled = {scan.subject for scan in scans if scan.label is not None}
    if not labelled & set(split.train) and settings.needs_labels:
        found = f"has no subject with labels among its {len(split.train)}"
        remedy = "check cohort.labels or label_desc, or change the split"
        problems.error("training split", found, "at least one", remedy)
    named = {s.subject for s in scans if s.annotation and s.annotation.stream == FULL}
    if settings.full and not named & set(split.train):
        problems.error(
            "annotation.full",
            f"names {shorten(sorted(named))}, and none of them is for training",
            "at least one",
            "name others, or put them into the training part (split.file)",
        )
    problems.settle("annotation plan")

    full, unlabelled = _draw(scans, split.train, settings, least=1)
    if settings.validation == "as_training":
        drawn = _draw(scans, split.val, settings, least=0)
        full, unlabelled = full | drawn[0], unlabelled | drawn[1]
    row = settings.protocol
    rest: Stream = "unlabelled" if row.unlabelled else "full" if row.name == FULL else "partial"
    assignments = []
    for scan in sorted(scans, key=lambda s: (s.subject, s.session or "")):
        part = cast(str, split.of(scan.subject))
        trains = part == "train" or (part == "val" and settings.validation == "as_training")
        own_protocol = scan.annotation if trains else scan.described
        stream, protocol = rest, row.name
        if scan.label is None or (own_protocol is None and scan.subject in unlabelled):
            stream, protocol = "unlabelled", UNLABELLED
        elif own_protocol is not None:
            stream, protocol = own_protocol.stream, own_protocol.name
        elif not trains or scan.subject in full:
            stream, protocol = "full", FULL
        is_full = stream == "full" if own_protocol is not None else scan.subject in full
        is_rest = part == "train" and (not is_full or scan.label is None)
        left_out = part == "val" and settings.validation == "none"
        if not left_out and (settings.use_rest or not is_rest):
            key = (scan.subject, scan.session)
            assignments.append(Assignment(*key, part, stream, protocol, scan.cohort))
    log.info("annotation plan: %s", _summary(assignments))
    for part in SPLITS[1:]:
        if {item.stream for item in assignments if item.split == part} == {UNLABELLED}:
            log.warning("no %s scan has labels to score by: set split.seed or split.file", part)
    return tuple(assignments)


def _draw(
    scans: Sequence[Scan], subjects: Iterable[str], settings: AnnotationSettings, least: int
) -> tuple[frozenset[str], frozenset[str]]:
    """Draw full and unlabelled subjects among those without a protocol named by the user."""
    free = {scan.subject for scan in scans if scan.label is not None and scan.annotation is None}
    order = shuffled((s for s in subjects if s in free), "annotation", settings.draw)
    order = sorted(order, key={scan.subject for scan in scans if scan.not_drawn}.__contains__)
    share = 0.0 if settings.full is not None else settings.full_fraction or 0.0
    # Round halves up, so that the count never decreases as the fraction grows.
    least = min(len(order), least if share > 0 else 0)
    number = min(len(order), max(least, floor(share * len(order) + 0.5)))
    unlabelled = min(len(order) - number, floor(settings.unlabelled_fraction * len(order) + 0.5))
    return frozenset(order[:number]), frozenset(order[len(order) - unlabelled :])


def _summary(assignments: Iterable[Assignment]) -> str:
    counts = Counter((item.split, item.stream) for item in assignments)
    return ", ".join(f"{n} {split} scans {stream}" for (split, stream), n in sorted(counts.items()))


def write_plan(
    path: Path, assignments: Sequence[Assignment], known: Sequence[str] | None = None
) -> None:
    """Write a table with the columns cohort, subject, session, split, stream, protocol, known.

    `known` describes the known structures of each assignment; `read_plan` ignores it.
    """
    descriptions = [""] * len(assignments) if known is None else known
    rows = zip(assignments, descriptions, strict=True)
    table = ([*(getattr(item, key) for key in COLUMNS), text] for item, text in rows)
    write_rows(path, (*COLUMNS, "known"), table)


def read_plan(path: str | Path, cohort: str = "") -> tuple[Assignment, ...]:
    """Read a table that `write_plan` wrote, possibly edited by a user.

    `cohort` is the cohort of all scans in tables of earlier versions, which lack that column.

    Raises:
        CohortError: listing unknown splits and streams, and scans with two rows.
    """
    path = Path(path)
    problems = Problems()
    assignments: dict[tuple[str, str, str | None], Assignment] = {}
    allowed = {"split": SPLITS, "stream": STREAMS}
    for number, row in enumerate(read_rows(path, COLUMNS[1:], problems, path.parent), start=2):
        where = f"{path} row {number}"
        scan = (row["subject"], row["session"] or None)
        key = (row.get("cohort") or cohort, *scan)
        for column, values in allowed.items():
            if row[column] not in values:
                problems.error(where, f"found {column} {row[column]!r}", f"one of {values}")
        if key in assignments:
            problems.error(where, f"names the scan {scan} again", "one row for each scan")
        stream = cast(Stream, row["stream"])
        assignments[key] = Assignment(*scan, row["split"], stream, row["protocol"], key[0])
    if problems.errors:
        raise CohortError(f"{path} is not a valid annotation plan:", tuple(problems.errors))
    return tuple(assignments.values())
