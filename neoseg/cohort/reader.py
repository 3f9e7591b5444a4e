"""Common part of all cohort readers: options, filters and error handling."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Literal

from neoseg.cohort.formats import dicom_line
from neoseg.cohort.keep import keep_scans
from neoseg.cohort.scan import Cohort, Scan, bare_id, id_in
from neoseg.cohort.segments import with_segments
from neoseg.cohort.selection import Selection
from neoseg.findings.problems import OnError, Problems, shorten
from neoseg.findings.settings import parse_settings
from neoseg.labels import Convention, LabelError, LabelSpace

_TIMES = (
    r"(.*\d)[-_.](?:\d\d\+\d|(?:19|20)\d\d-?\d\d-?\d\d|[1-9](?:\.5)?T)",
    r"(.*\d)[-_.][A-Z]{0,5}\d{1,3}",
    r"(.*\d)[-_.]\d{1,3}(?:d|wk?|weeks?|mo?|months?|yr?|years?)(?:\dd?)?",
    r"(.*\d)[-_.][A-Z]{2,5}[-_.]d\d{4}",
    r"(.*\d)(?:v|w|ga|tp)\d{1,2}",
    r"(.+)[-_.](?:ED|ES|pre|post|bl|fu|baseline|followup)",
    r"(?:left|right|[lr]h?|pre|post|bl|fu|baseline|followup)[-_.](.*\d)",
)
_TIME_POINT = re.compile("(?i)" + "|".join(_TIMES))
"""An id that ends in a time or its number: `OAS2_0004_MR2`, `inf01_6mo`, `c10_24+3`, `A1_sa_ED`; or
begins with a side or time, such as `left_9001104`."""

_VARIANT = re.compile(r"(.*\d)[-_.]?([A-Za-z]|(?<=[-_.])[A-Za-z]{2,10})")
"""An id that ends in a letter or a word after a number, as `case10_mial` and `07a` do."""


@dataclass(frozen=True)
class Reading:
    """One call of a reader: the common options, and the problems so far."""

    root: Path
    name: str
    modalities: tuple[str, ...]
    selection: Selection
    problems: Problems

    def settle(self) -> None:
        """Raise `CohortError` with every error so far; call before relying on the options."""
        command = any(p.kind == "no-scans" for p in self.problems.errors) and dicom_line(self.root)
        if command:
            self.problems.error(
                self.root, "holds DICOM files", "volumes", f"convert them: {command}", "no-scans"
            )
        self.problems.settle(f"cohort '{self.name}'")


Read = Callable[..., tuple[Sequence[Scan], Convention | None]]
"""`read(root, space, reading, *, own options)`: return the scans of the selected subjects, and the
convention of their label files, None after an error about it.
"""


def reader(
    name: str,
    known: Sequence[str] = (),
    usual: Sequence[str] = ("T2w",),
    names_in_files: bool = True,
) -> Callable[[Read], Callable[..., Cohort]]:
    """Decorate a function that finds scans, which makes it a reader that returns a `Cohort`.

    The reader is called with `(root, space, *, name, modalities, on_error, not_drawn, ...)`, the
    function's own options and the filters of `Selection`. `on_error="skip"` leaves out scans with
    errors, "collect" also keeps all other errors to be reported later; otherwise a `CohortError`
    lists every problem. `not_drawn` maps structures to the subjects or scans (by id) whose label
    files have background in their place, or to "all".

    Args:
        name: default name of the cohort.
        known: the allowed modalities; empty allows any.
        usual: default modalities.
        names_in_files: whether names of segments in a label file say what its integers mean, unless
            `convention` does.
    """
    expected = f"one or more of {list(known)}, each once" if known else "one or more, each once"

    def decorate(read: Read) -> Callable[..., Cohort]:
        # Without `__annotations__`: those of the shared options are of `reading_cohort` itself.
        @wraps(read, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        def reading_cohort(
            root: str | Path,
            space: LabelSpace,
            *,
            name: str = name,
            modalities: Sequence[str] = tuple(usual),
            on_error: OnError = "stop",
            not_drawn: Mapping[int | str, Sequence[str] | Literal["all"]] | None = None,
            **options: Any,
        ) -> Cohort:
            problems = Problems()
            filters = {k: options.pop(k) for k in Selection.model_fields if k in options}
            selection = parse_settings(Selection, filters, f"cohort '{name}'")
            modalities = [str(modality) for modality in modalities]  # also of numbers
            twice = len(set(modalities)) < len(modalities)
            if not modalities or twice or (known and set(modalities) - set(known)):
                problems.error("modalities", f"found {list(modalities)}", expected)
            path = Path(root).expanduser()
            reading = Reading(path, name, tuple(modalities), selection, problems)
            scans, convention = read(path, space, reading, **options)
            if names_in_files:
                given = options.get("convention")
                scans = with_segments(scans, space, given, convention, problems)
            scans = _with_not_drawn(scans, space, not_drawn or {}, problems)
            words = "tell the sessions, by names such as sub-X_ses-Y"
            patterned = ", or by {session} in cohort.images" if "images" in options else ""
            if all(known.kind != "alike-ids" for known in problems.warnings):  # by a reader itself
                warn_of_time_points([s.subject for s in scans], f"{words}{patterned}", problems)
            _warn_similar_ids(scans, problems)
            if selection.keep:
                scans = keep_scans(scans, path, selection.keep, problems, options.get("columns"))
            skipped = problems.skipped(on_error)
            kept = selection.apply([scan for scan in scans if scan.id not in skipped], problems)
            usable = convention is not None and bool(kept)
            noted = problems.settle(f"cohort '{name}'", on_error, usable)
            assert convention is not None
            return Cohort(name, kept, convention, reading.modalities, noted)

        specific = [p for p in signature(read).parameters.values() if p.kind is p.KEYWORD_ONLY]
        *shared, _ = signature(reading_cohort, follow_wrapped=False).parameters.values()
        filters = [
            Parameter(key, Parameter.KEYWORD_ONLY, default=field.default)
            for key, field in Selection.model_fields.items()
        ]
        # Unknown keys of a configuration are detected by this signature.
        complete = Signature([*shared, *specific, *filters], return_annotation="Cohort")
        reading_cohort.__signature__ = complete  # type: ignore[attr-defined]
        return reading_cohort

    return decorate


def _with_not_drawn(
    scans: Sequence[Scan],
    space: LabelSpace,
    not_drawn: Mapping[int | str, Sequence[str] | Literal["all"]],
    problems: Problems,
) -> list[Scan]:
    """Return the scans with the structures that were not drawn in each."""
    hidden = {scan.id: scan.not_drawn for scan in scans}
    for structure, ids in not_drawn.items():
        try:
            leaves = space.label_set(structure)
        except LabelError as error:
            problems.error("not_drawn", str(error))
            continue
        known = {name for scan in scans for name in (scan.subject, bare_id(scan.id, "sub-"))}
        listed = known if ids == "all" else {id_in(str(name), known) for name in ids}
        for scan in scans:
            if listed & {scan.subject, bare_id(scan.id, "sub-")}:
                hidden[scan.id] |= leaves
        unknown = sorted(listed - known)
        if unknown:
            found = f"names {shorten(unknown)} for {structure}, which the cohort does not have"
            problems.warn("not_drawn", found, action="correct the ids, or take them out")
    return [replace(scan, not_drawn=hidden[scan.id]) for scan in scans]


def _warn_similar_ids(scans: Sequence[Scan], problems: Problems) -> None:
    """Warn of subjects, and of a subject's sessions, whose ids differ only as spellings do."""
    subjects, sessions = (
        defaultdict[str, set[str]](set),
        defaultdict[tuple[str, str], set[str]](set),
    )
    for scan in scans:
        subjects[_normalized_id(scan.subject)].add(scan.subject)
        if scan.session is not None:
            sessions[scan.subject, _normalized_id(scan.session)].add(scan.id)
    if similar := _several(subjects.values()):
        problems.warn(
            "subjects",
            f"{shorten(similar)} differ in zeros or capitals alone",
            "one id for each person",
            "they count as different people, who may be in training and test; if they are one, "
            "give all files and rows the same id",
            "alike-ids",
        )
    if similar := _several(sessions.values()):
        problems.warn(
            "sessions",
            f"{shorten(similar)} differ in zeros or capitals alone",
            "one name for each session",
            "they count as different scans; exclude one if they are copies",
            "duplicate-scan",
        )


def warn_of_time_points(names: Iterable[str], remedy: str, problems: Problems) -> None:
    """Warn of subjects whose ids look like those of several scans of one person (`P017-2`).

    Their ids end in a time, or in letters that are those of others, too (`_mial` and `_irtk`), and
    more persons would be there than scans of one; where it is the other way round, the first part
    may well be that of a hospital. `remedy` is how to tell the sessions.
    """
    names = set(names)
    times = {name: match for name in names if (match := _TIME_POINT.fullmatch(name))}
    words = {name: match for name in names - {*times} if (match := _VARIANT.fullmatch(name))}
    usual = Counter(match[2] for match in words.values())
    people = defaultdict[str, set[str]](set)
    for name, match in times.items():
        people[next(filter(None, match.groups()))].add(name)
    shared = {match[1] for match in words.values() if usual[match[2]] > 1}
    for name, match in words.items():
        if match[1] in shared:
            people[match[1]].add(name)
    several = {person: ids for person, ids in people.items() if len(ids) > 1}
    if several and len(people) >= max(map(len, several.values())):
        problems.warn(
            "subjects",
            f"{shorten(_several(several.values()))} look like scans of one person, or of twins",
            "one id for each person, and a session for each time",
            "they count as different people, who may be in training and test; if they are one, "
            f"{remedy}; if they are twins, keep them in one part of the split by split=file",
            "alike-ids",
        )


def _normalized_id(name: str) -> str:
    """Return an id without leading zeros, capitals and a trailing ".0"."""
    return name.casefold().removesuffix(".0").lstrip("0")


def _several(groups: Iterable[set[str]]) -> list[str]:
    return [" and ".join(sorted(names)) for names in groups if len(names) > 1]


def note_unlabelled(scans: Sequence[Scan], what: str, problems: Problems) -> None:
    """Warn of the scans without a label file; `what` names the kind or name of the file."""
    unlabelled = [scan.id for scan in scans if scan.label is None]
    if unlabelled:
        found = f"{len(unlabelled)} of {len(scans)} scans have no {what}: {shorten(unlabelled)}"
        problems.warn("labels", found, action="they count as unlabelled", kind="no-labels")
