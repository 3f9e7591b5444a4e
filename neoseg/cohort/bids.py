"""Read any folder of BIDS derivatives: images, label maps, masks and ages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from neoseg.cohort.folders import SessionFolder, find_sessions, list_subjects
from neoseg.cohort.label_tables import from_tables
from neoseg.cohort.meaning import resolve
from neoseg.cohort.participants import read_ages
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan
from neoseg.cohort.selection import Selection
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

LABEL_SUFFIXES = ("dseg",)
MASK_SUFFIXES = ("mask", "brainmask")


@reader("bids")
def read_bids(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    image_desc: str | None = None,
    label_desc: str | None = None,
    mask_desc: str = "brain",
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find `sub-*/[ses-*/]anat/*_<modality>.nii.gz` with its `*_dseg` and `*_mask`.

    `image_desc`, `label_desc` and `mask_desc` pick by the `desc-` entity where there are several;
    without one, a name that has none is taken, else the only one there is. The integers of the
    label files mean what `convention` says, else what the `dseg.tsv` says that BIDS inheritance
    gives each, else they are the indices of the table, with a warning ("identity" says so without).
    Scans without label file are unlabelled. The other options are those of every `reader`.
    """
    reading.settle()
    problems, selection, modalities = reading.problems, reading.selection, reading.modalities
    known = list_subjects(root)
    selection.check(known, problems)
    folders = find_sessions(root, selection.wants, problems)
    sessions = [item for item in folders if _with_suffix(item.files, modalities[:1])]
    lacking = [item.id for item in folders if item not in sessions]
    if lacking:
        problems.warn(
            root,
            f"{len(lacking)} sessions have no {modalities[0]}: {shorten(lacking)}",
            action="they are left out",
            kind="missing-image",
        )
    if not sessions:
        nothing = _nothing_found(root, known, selection, modalities[0])
        problems.error(root, *nothing, kind="no-scans")
        reading.settle()

    pick = _Picker(problems)
    ages = read_ages([root], sessions, selection.wants, problems)
    scans = []
    for item in sessions:
        images = tuple(pick(item, (m,), image_desc, "image_desc") for m in modalities)
        if images[0] is None:
            problems.error(
                item.path,
                f"has no {modalities[0]} with desc-{image_desc}",
                "one file for each session",
                "change cohort.image_desc, or exclude the subject",
                "missing-image",
                [item.id],
            )
            continue
        age = ages[item.subject, item.session]
        scans.append(
            Scan(
                subject=item.subject,
                session=item.session,
                images=images,
                label=pick(item, LABEL_SUFFIXES, label_desc, "label_desc"),
                mask=pick(item, MASK_SUFFIXES, mask_desc, "mask_desc"),
                scan_age=age.scan,
                birth_age=age.birth,
                cohort=reading.name,
            )
        )
    pick.report()
    _check_labels(scans, sessions, label_desc, problems)
    labels = {scan.id: scan.label for scan in scans if scan.label is not None}
    return scans, _convention(root, space, convention, labels, problems)


def _nothing_found(
    root: Path, known: Collection[str], selection: Selection, modality: str
) -> tuple[str, str, str]:
    if not root.is_dir():
        return "is not a folder", "a folder of BIDS derivatives", "set cohort.root"
    if known and not any(map(selection.wants, known)):
        return (
            f"holds {len(known)} subjects, and the filters leave none",
            "at least one",
            "change cohort.subjects or cohort.exclude",
        )
    return (
        f"holds no scans ({len(known)} folders sub-*)",
        f"sub-*/[ses-*/]anat/*_{modality}.nii.gz",
        "set cohort.root to the folder that holds sub-*, or change cohort.modalities",
    )


class _Picker:
    """Picks files of sessions and remembers where several would do."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.several: dict[tuple[str, tuple[str, ...]], list[SessionFolder]] = {}

    def __call__(
        self, item: SessionFolder, suffixes: Sequence[str], desc: str | None, option: str
    ) -> Path | None:
        names = _choose(_with_suffix(item.files, suffixes), desc)
        if len(names) > 1:
            self.several.setdefault((option, names), []).append(item)
        return item.usable(names[0], self.problems) if names else None

    def report(self) -> None:
        """Note each kind of ambiguity once."""
        for (option, names), items in self.several.items():
            descs = sorted({_desc(name) or "(none)" for name in names})
            action = "move the ones that are not wanted out of the folder"
            self.problems.error(
                items[0].path,
                f"has several files that would do: {', '.join(names)} "
                f"({len(items)} sessions are like this)",
                "one file for each session",
                f"set {option} to one of {', '.join(descs)}" if len(descs) > 1 else action,
                "several-files",
                [item.id for item in items],
            )


def _check_labels(
    scans: Sequence[Scan],
    sessions: Sequence[SessionFolder],
    label_desc: str | None,
    problems: Problems,
) -> None:
    """Note unlabelled scans; a `label_desc` that no file has while others exist is an error."""
    descs = _descs(sessions)
    if label_desc is not None and descs and label_desc not in descs:
        problems.error(
            "label_desc", f"no label file has desc-{label_desc}", f"one of {', '.join(descs)}"
        )
    else:
        note_unlabelled(scans, "label file", problems)


def _descs(sessions: Sequence[SessionFolder]) -> list[str]:
    names = (name for item in sessions for name in _with_suffix(item.files, LABEL_SUFFIXES))
    return sorted({_desc(name) or "(none)" for name in names})


def _desc(name: str) -> str | None:
    """Return the `desc-` of a name without subject, session and extension, or None."""
    found = re.match(r"(?:.*_)?desc-([^_]*)_", name)
    return found and found[1]


def _with_suffix(names: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    return [name for name in sorted(names) if name.split("_")[-1] in suffixes]


def _choose(names: Sequence[str], desc: str | None) -> tuple[str, ...]:
    """Return what matches `desc`; without one, the names that have none, or else all."""
    found = tuple(name for name in names if _desc(name) == desc)
    return found or (tuple(names) if desc is None else ())


def _convention(
    root: Path,
    space: LabelSpace,
    convention: Mapping[int, Meaning] | str | None,
    labels: Mapping[str, Path],
    problems: Problems,
) -> Convention | None:
    """Settle what the integers mean: the user's word, else that of the tables."""
    if isinstance(convention, Mapping):
        return resolve(space, convention, "convention", problems)
    if convention == "identity":
        return Convention.identity(space)
    if convention is not None:
        problems.error("convention", f"found {convention!r}", "a mapping, 'identity' or null")
        return None
    return from_tables(space, labels, root, problems)
