"""Assign protocols to scans as the user names them: in a table, or by listing full subjects."""

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
    """Return the cohort with a protocol for each scan that the settings name one for.

    A row with a session takes precedence over a row for the whole subject. An annotation is
    "full", "unlabelled", a protocol of the settings, or a super-class, whose structures then form
    one merged label. Scans without a row follow `protocol` if it describes files; else they are
    left to be drawn, which is an error if no draw is configured. A label file described as
    unlabelled is not used.

    Raises:
        CohortError: listing rows and names that the cohort lacks, unknown annotations, scans with
            two rows, and scans without any; with "collect" they are added to the cohort's problems.
        LabelError: a protocol of the settings is invalid.
    """
    describes = settings.protocol.describes
    if settings.file is None and settings.full is None and not describes:
        return cohort
    problems = Problems()
    protocols = settings.resolved(cohort.convention.space)
    by_name, in_table = dict[str, Protocol](), set[str]()
    if settings.file is not None:
        by_name, in_table = _read_protocols(settings.file, protocols, cohort, problems)
    present = {name for scan in cohort.scans for name in _names(scan)}
    listed = _listed_names(settings.full, present, problems)
    for name in listed:
        if by_name.setdefault(name, protocols[FULL]).name != FULL:
            found = f"names {name}, of whom {settings.file} says '{by_name[name].name}'"
            problems.error("annotation.full", found, action="correct one of the two", kind="plan")
    partial = settings.subset or any(p.severity == "error" for p in cohort.problems)
    unknown = sorted(set(by_name) - present)
    if unknown and not partial:
        problems.error(
            "annotation.full" if set(unknown) <= set(listed) else settings.file,
            f"names {shorten(unknown)}, which the cohort does not have",
            f"ids such as {shorten(cohort.subjects, 3)}",
            "correct the ids, or set annotation.subset=true if the cohort is a part",
            "plan",
        )
    scans = []
    needs_row = not describes and settings.full is None and settings.full_fraction is None
    without_row: list[str] = []
    for scan in cohort.scans:
        protocol = next((by_name[name] for name in _names(scan) if name in by_name), None)
        if protocol is None and describes:
            protocol = protocols[settings.protocol.name]
        if (
            protocol is None
            and needs_row
            and scan.label is not None
            and in_table.isdisjoint(_names(scan))
        ):
            without_row.append(scan.id)
        ignored = protocol is not None and protocol.describes and protocol.stream == UNLABELLED
        label = None if ignored else scan.label
        scans.append(replace(scan, annotation=protocol, label=label))
    without_labels = [
        s.id for s in scans if not s.label and s.annotation and s.annotation.stream != UNLABELLED
    ]
    if without_labels and not describes:
        problems.warn(
            settings.file or "annotation.full",
            f"gives an annotation for {shorten(without_labels)}, which have no label file",
            action="they count as unlabelled",
            kind="no-labels",
        )
    unreadable = any(problem.kind == "bad-table" for problem in problems.errors)
    if without_row and not unreadable:
        problems.error(
            settings.file,
            f"has no row for {len(without_row)} scans with labels: {shorten(without_row)}",
            "a row for each",
            "add them, or set annotation.full_fraction to draw who of them is full; the others "
            "then follow annotation.protocol",
            "plan",
        )
    noted = problems.settle(f"annotation of '{cohort.name}'", on_error)
    return replace(cohort, scans=tuple(scans), problems=(*cohort.problems, *noted))


def _names(scan: Scan) -> tuple[str, str]:
    """Return the names by which a scan can be given: its own id, then its subject's."""
    return bare_id(scan.id, "sub-"), scan.subject


def _listed_names(
    full: tuple[str | int, ...] | Path | None, present: set[str], problems: Problems
) -> list[str]:
    """Return the listed ids of subjects or scans; `full` may be a table with a column `subject`."""
    if isinstance(full, Path):
        full = tuple(row["subject"] for row in read_rows(full.expanduser(), ["subject"], problems))
    return [id_in(str(name), present) for name in full or ()]


def _read_protocols(
    path: Path, protocols: dict[str, Protocol], cohort: Cohort, problems: Problems
) -> tuple[dict[str, Protocol], set[str]]:
    """Read the columns subject[, session], annotation; return the protocol of each subject or scan.

    Also return the names of all rows, including those with an invalid annotation.
    """
    by_name: dict[str, Protocol] = {}
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
            suggestion = nearest(
                row["annotation"], [*protocols, *_super_classes(cohort.convention.space)]
            )
            action = f"define it, or correct it{suggestion}"
            found = f"has the annotation {row['annotation']!r}"
            problems.error(where, found, expected, action, "plan")
            continue
        by_name[key] = protocol
    return by_name, set(rows)


def _protocol(name: str, protocols: dict[str, Protocol], space: LabelSpace) -> Protocol | None:
    """Return the protocol of that name, or one that merges the super-class of that name.

    Names are matched regardless of case.
    """
    matches = [key for key in protocols if key.casefold() == name.casefold()]
    if name in protocols or len(matches) == 1:
        return protocols.get(name) or protocols[matches[0]]
    try:
        region = space.classes[space.class_position(name)].abbreviation
        return Protocol.parse(space, {"name": region, "merge": [region]})
    except LabelError:
        return None


def _super_classes(space: LabelSpace) -> Iterable[str]:
    return (entry.abbreviation for entry in space.classes[space.num_leaves :])
