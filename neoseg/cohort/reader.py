"""What all readers of cohorts share: options, filters, and what becomes of the problems found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

from neoseg.cohort.formats import dicom_line
from neoseg.cohort.scan import Cohort, Scan, bare_id
from neoseg.cohort.selection import Selection
from neoseg.findings.problems import OnError, Problems, shorten
from neoseg.findings.settings import parse_settings
from neoseg.labels import Convention, LabelError, LabelSpace


@dataclass(frozen=True)
class Reading:
    """One call of a reader: the options that all have, and what was found so far."""

    root: Path
    name: str
    modalities: tuple[str, ...]
    selection: Selection
    problems: Problems

    def settle(self) -> None:
        """Raise `CohortError` with every error so far; called before options are relied on."""
        line = any(p.kind == "no-scans" for p in self.problems.errors) and dicom_line(self.root)
        if line:
            self.problems.error(
                self.root, "holds DICOM files", "volumes", f"convert them: {line}", "no-scans"
            )
        self.problems.settle(f"cohort '{self.name}'")


Read = Callable[..., tuple[Sequence[Scan], Convention | None]]
"""`read(root, space, reading, *, own options)`: the scans of the selected subjects, and what the
integers of their label files mean, None after an error about that.
"""


def reader(
    name: str, known: Sequence[str] = (), usual: Sequence[str] = ("T2w",)
) -> Callable[[Read], Callable[..., Cohort]]:
    """Make a reader of a function that finds scans.

    It is called with `(root, space, *, name, modalities, on_error, not_drawn, ...)`, its own
    options and the filters of `Selection`. `on_error="skip"` leaves scans with errors out,
    "collect" also keeps the other errors to be told later; else they end in a `CohortError` with
    every problem found. `not_drawn` maps structures to the subjects or scans (by id) whose label
    files show background in their place.

    Args:
        name: of the cohort by default.
        known: the modalities that there can be; none are known by default.
        usual: the modalities by default.
    """
    choice = f"one or more of {list(known)}, each once" if known else "one or more, each once"

    def of(read: Read) -> Callable[..., Cohort]:
        @wraps(read)
        def reading_cohort(
            root: str | Path,
            space: LabelSpace,
            *,
            name: str = name,
            modalities: Sequence[str] = tuple(usual),
            on_error: OnError = "stop",
            not_drawn: Mapping[int | str, Sequence[str]] | None = None,
            **options: Any,
        ) -> Cohort:
            problems = Problems()
            filters = {k: options.pop(k) for k in Selection.model_fields if k in options}
            selection = parse_settings(Selection, filters, f"cohort '{name}'")
            twice = len(set(modalities)) < len(modalities)
            if not modalities or twice or (known and set(modalities) - set(known)):
                problems.error("modalities", f"found {list(modalities)}", choice)
            place = Path(root).expanduser()
            reading = Reading(place, name, tuple(modalities), selection, problems)
            scans, meaning = read(place, space, reading, **options)
            scans = _mark(scans, space, not_drawn or {}, problems)
            _note_alike(scans, problems)
            skipped = problems.skipped(on_error)
            kept = selection.apply([scan for scan in scans if scan.id not in skipped], problems)
            usable = meaning is not None and bool(kept)
            found = problems.settle(f"cohort '{name}'", on_error, usable)
            assert meaning is not None
            return Cohort(name, kept, meaning, reading.modalities, found)

        own = [p for p in signature(read).parameters.values() if p.kind is p.KEYWORD_ONLY]
        *shared, _ = signature(reading_cohort, follow_wrapped=False).parameters.values()
        filters = [
            Parameter(key, Parameter.KEYWORD_ONLY, default=field.default)
            for key, field in Selection.model_fields.items()
        ]
        # The options of a reader are listed by it, and keys that are none of them found out.
        everything = Signature([*shared, *own, *filters], return_annotation="Cohort")
        reading_cohort.__signature__ = everything  # type: ignore[attr-defined]
        return reading_cohort

    return of


def _mark(
    scans: Sequence[Scan],
    space: LabelSpace,
    not_drawn: Mapping[int | str, Sequence[str]],
    problems: Problems,
) -> list[Scan]:
    """Return the scans with what was not drawn in each."""
    hidden = {scan.id: scan.not_drawn for scan in scans}
    for structure, ids in not_drawn.items():
        try:
            leaves = space.label_set(structure)
        except LabelError as error:
            problems.error("not_drawn", str(error))
            continue
        wanted = {bare_id(str(name), "sub-") for name in ids}
        for scan in scans:
            names = {scan.subject, bare_id(scan.id, "sub-")} & wanted
            if names:
                hidden[scan.id] |= leaves
                wanted -= names
        unknown = sorted(wanted - {scan.subject for scan in scans})
        if unknown:
            found = f"names {shorten(unknown)} for {structure}, which the cohort does not have"
            problems.warn("not_drawn", found, action="correct the ids, or take them out")
    return [replace(scan, not_drawn=hidden[scan.id]) for scan in scans]


def _note_alike(scans: Sequence[Scan], problems: Problems) -> None:
    """Warn of subjects whose ids differ in leading zeros, capitals or a trailing ".0" alone."""
    groups: dict[str, set[str]] = {}
    for scan in scans:
        plain = scan.subject.casefold().removesuffix(".0").lstrip("0")
        groups.setdefault(plain, set()).add(scan.subject)
    alike = [" and ".join(sorted(names)) for names in groups.values() if len(names) > 1]
    if alike:
        problems.warn(
            "subjects",
            f"{shorten(alike)} differ in zeros or capitals alone",
            "one id for each person",
            "they count as different people, who may be in training and test; if they are one, "
            "give all files and rows the same id",
            "alike-ids",
        )


def note_unlabelled(scans: Sequence[Scan], what: str, problems: Problems) -> None:
    """Warn of the scans without label file, of which `what` tells the kind or name."""
    without = [scan.id for scan in scans if scan.label is None]
    if without:
        found = f"{len(without)} of {len(scans)} scans have no {what}: {shorten(without)}"
        problems.warn("labels", found, action="they count as unlabelled", kind="no-labels")
