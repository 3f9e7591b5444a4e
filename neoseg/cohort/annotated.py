"""Who is annotated how where somebody says so: in a table, or by naming the full subjects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from neoseg.cohort.annotation import FULL, UNLABELLED, AnnotationSettings
from neoseg.cohort.scan import Cohort, Scan, bare_id, id_in, scan_id
from neoseg.cohort.table import read_rows
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import OnError, Problems, shorten
from neoseg.labels import LabelError, LabelSpace, Protocol


def with_annotation(
    cohort: Cohort, settings: AnnotationSettings, on_error: OnError = "stop"
) -> Cohort:
    """Return the cohort with the protocol of each scan for which the settings name one.

    A row of the table with a session outranks one of the whole subject. An annotation is "full",
    "unlabelled", a protocol of the settings, or a super-class, which is then told as one. Scans
    without a row follow `protocol` where that describes files, else they are left to be drawn; an
    error where nothing is drawn either. A label file that is described as unlabelled is not used.

    Raises:
        CohortError: listing rows and names that the cohort does not have, unknown annotations,
            scans with two rows, and scans without any; with "collect" they are the cohort's.
        LabelError: protocols of the settings that cannot be.
    """
    rest = settings.protocol.describes
    if settings.file is None and settings.full is None and not rest:
        return cohort
    problems = Problems()
    protocols = settings.resolved(cohort.convention.space)
    told, named = dict[str, Protocol](), set[str]()
    if settings.file is not None:
        told, named = _read(settings.file, protocols, cohort, problems)
    present = {name for scan in cohort.scans for name in _names(scan)}
    listed = _listed(settings.full, present, problems)
    for name in listed:
        if told.setdefault(name, protocols[FULL]).name != FULL:
            found = f"names {name}, of whom {settings.file} says '{told[name].name}'"
            problems.error("annotation.full", found, action="correct one of the two", kind="plan")
    partial = settings.subset or any(p.severity == "error" for p in cohort.problems)
    unknown = sorted(set(told) - present)
    if unknown and not partial:
        problems.error(
            "annotation.full" if set(unknown) <= set(listed) else settings.file,
            f"names {shorten(unknown)}, which the cohort does not have",
            f"ids such as {shorten(cohort.subjects, 3)}",
            "correct the ids, or set annotation.subset=true if the cohort is a part",
            "plan",
        )
    scans = []
    open_ = not rest and settings.full is None and settings.full_fraction is None
    lacking: list[str] = []
    for scan in cohort.scans:
        protocol = next((told[name] for name in _names(scan) if name in told), None)
        if protocol is None and rest:
            protocol = protocols[settings.protocol.name]
        if protocol is None and open_ and scan.label is not None and named.isdisjoint(_names(scan)):
            lacking.append(scan.id)
        ignored = protocol is not None and protocol.describes and protocol.stream == UNLABELLED
        label = None if ignored else scan.label
        scans.append(replace(scan, annotation=protocol, label=label))
    bare = [
        s.id for s in scans if not s.label and s.annotation and s.annotation.stream != UNLABELLED
    ]
    if bare and not rest:
        problems.warn(
            settings.file or "annotation.full",
            f"tells the annotation of {shorten(bare)}, which have no label file",
            action="they count as unlabelled",
            kind="no-labels",
        )
    unread = any(problem.kind == "bad-table" for problem in problems.errors)
    if lacking and not unread:
        problems.error(
            settings.file,
            f"has no row for {len(lacking)} scans with labels: {shorten(lacking)}",
            "a row for each",
            "add them, or set annotation.full_fraction to draw who of them is full; the others "
            "then follow annotation.protocol",
            "plan",
        )
    noted = problems.settle(f"annotation of '{cohort.name}'", on_error)
    return replace(cohort, scans=tuple(scans), problems=(*cohort.problems, *noted))


def _names(scan: Scan) -> tuple[str, str]:
    """Return what a scan can be called, the narrower name first."""
    return bare_id(scan.id, "sub-"), scan.subject


def _listed(
    full: tuple[str | int, ...] | Path | None, present: set[str], problems: Problems
) -> list[str]:
    """Return the ids of subjects or scans that are listed, or stand in a column `subject`."""
    if isinstance(full, Path):
        full = tuple(row["subject"] for row in read_rows(full.expanduser(), ["subject"], problems))
    return [id_in(str(name), present) for name in full or ()]


def _read(
    path: Path, protocols: dict[str, Protocol], cohort: Cohort, problems: Problems
) -> tuple[dict[str, Protocol], set[str]]:
    """Read subject[, session], annotation; return the protocol of each subject or scan.

    Beside them all whom a row names, those with an annotation that is none as well.
    """
    told: dict[str, Protocol] = {}
    path, rows, present = path.expanduser(), dict[str, int](), set(cohort.subjects)
    for number, row in enumerate(read_rows(path, ["subject", "annotation"], problems), start=2):
        where = f"{path} row {number}"
        subject = id_in(row["subject"], present)
        session = bare_id(row.get("session", ""), "ses-")
        key = bare_id(scan_id(subject, session), "sub-")
        if not subject:
            problems.error(where, "names no subject", action="complete the row", kind="plan")
            continue
        if key in rows:
            found = f"names {key} again, as row {rows[key]} does"
            problems.error(where, found, "one row", "delete one", "duplicate-row")
            continue
        rows[key] = number
        protocol = _protocol(row["annotation"], protocols, cohort.convention.space)
        if protocol is None:
            expected = "full, unlabelled, a protocol of annotation.protocols or a super-class"
            near = nearest(row["annotation"], [*protocols, *_regions(cohort.convention.space)])
            action = f"define it, or correct it{near}"
            found = f"has the annotation {row['annotation']!r}"
            problems.error(where, found, expected, action, "plan")
            continue
        told[key] = protocol
    return told, set(rows)


def _protocol(name: str, protocols: dict[str, Protocol], space: LabelSpace) -> Protocol | None:
    """Return the protocol of a name, or the one that tells a super-class of that name as one.

    Of both, names that differ in capitals alone are the same.
    """
    alike = [known for known in protocols if known.casefold() == name.casefold()]
    if name in protocols or len(alike) == 1:
        return protocols.get(name) or protocols[alike[0]]
    try:
        region = space.classes[space.class_position(name)].abbreviation
        return Protocol.parse(space, {"name": region, "merge": [region]})
    except LabelError:
        return None


def _regions(space: LabelSpace) -> Iterable[str]:
    return (entry.abbreviation for entry in space.classes[space.num_leaves :])
