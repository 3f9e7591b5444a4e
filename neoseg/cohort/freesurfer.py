"""Read a cohort from a FreeSurfer subjects directory."""

import re
from collections.abc import Collection, Mapping, Sequence
from os.path import lexists
from pathlib import Path
from typing import Literal, get_args

from neoseg.cohort.formats import fault_of
from neoseg.cohort.listed import with_meaning
from neoseg.cohort.meaning import resolve
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan, bare_id, ids_in, scan_id
from neoseg.cohort.selection import Selection
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

Stream = Literal["all", "cross", "long"]
STREAMS = get_args(Stream)

LONGITUDINAL = ".long."
"""Between the names of a visit and of its subject's template in the longitudinal stream."""

TIME_POINTS = "base-tps"
"""File in the folder of a subject's template that lists the visits."""

TEMPLATE_PREFIX = "fsaverage"
"""Prefix of the template subjects that come with FreeSurfer."""

ASEG_MARKERS = {
    2: "left-cerebral-white-matter",
    3: "left-cerebral-cortex",
    42: "right-cerebral-cortex",
}
"""Structures by which a label table is recognised as FreeSurfer's."""

PARCELS = {1000 + n: 3 for n in range(36)} | {2000 + n: 42 for n in range(36)}
"""The aseg label of each parcel of aparc+aseg: left or right cerebral cortex."""


@reader("freesurfer", usual=("T1",))
def read_freesurfer(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    names: Mapping[str, str] | None = None,
    labels: str | Sequence[str] = "aseg",
    mask: str | None = None,
    stream: Stream = "all",
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find `<subject>/mri/<modality>.mgz` with `<subject>/mri/<labels>.mgz`, as from `recon-all`.

    Modalities, `labels` and `mask` are file names without ending, such as orig, norm and
    aparc+aseg; `names` has the file of a modality where it is called otherwise, as in `{T1w: T1}`.
    Of several `labels`, as `[aseg.manual, aseg]`, the first that a scan has is taken. With a label
    table of FreeSurfer's numbers and names (`labels=aseg`), the integers are those numbers, and
    parcels that the table lacks are cortex. Otherwise `convention` and the other options are those
    of `read_bids`. Templates (fsaverage) are left out.

    Folders `sub-X_ses-Y` are sessions of one subject, and so are those of the longitudinal stream:
    `NAME.long.BASE`, and the template BASE of a subject. `stream` takes "all", "long" for
    `NAME.long.BASE` alone, or "cross" for neither these nor templates.
    """
    problems, selection = reading.problems, reading.selection
    if stream not in STREAMS:
        problems.error("stream", f"is {stream!r}", f"one of {', '.join(STREAMS)}")
    reading.settle()
    folders = {path.parent.name: path for path in sorted(root.glob("*/mri")) if path.is_dir()}
    subjects = {
        name: path for name, path in folders.items() if not name.startswith(TEMPLATE_PREFIX)
    }
    if not subjects:
        expected = f"SUBJECT/mri/{reading.modalities[0]}.mgz"
        problems.error(root, "holds no subjects", expected, "set cohort.root", "no-scans")
    reading.settle()
    folder_of = _by_ids(subjects, problems)
    _check_names(selection, folder_of, problems)
    kept = {ids: folder for ids, folder in folder_of.items() if selection.wants(ids[0])}
    file_of = {modality: str(name) for modality, name in (names or {}).items()}
    kinds = [labels] if isinstance(labels, str) else list(labels)
    if not kinds:
        problems.error("labels", "names no file", "one, such as aseg, or several")
    scans = []
    for (subject, session), folder in _of_stream(kept, stream, problems).items():
        images = [folder / f"{file_of.get(name, name)}.mgz" for name in reading.modalities]
        found = [path for name in kinds if lexists(path := folder / f"{name}.mgz")]
        label_and_mask = [found[0] if found else None, folder / f"{mask}.mgz" if mask else None]
        for path in (*images, *filter(None, label_and_mask)):
            fault, kind = fault_of(path)
            if fault and (path == images[0] or lexists(path)):
                scan_ids = [scan_id(subject, session)]
                action = "let recon-all finish, or leave the subject out (cohort.exclude)"
                others = sorted(p.stem for p in folder.glob("*.mgz") if p.stem not in kinds)
                if others and not lexists(path):
                    action += f"; {folder} has {shorten(others)}: see cohort.modalities, names"
                problems.error(path, fault, "a volume of FreeSurfer", action, kind, scan_ids)
        other_images = tuple(path if path.exists() else None for path in images[1:])
        label, brain_mask = (path if path and path.exists() else None for path in label_and_mask)
        scans.append(
            Scan(
                subject,
                session,
                (images[0], *other_images),
                label,
                brain_mask,
                None,
                None,
                reading.name,
            )
        )
    note_unlabelled(scans, f"file mri/{' or '.join(kinds)}.mgz", problems)
    numbers = {leaf.index: leaf.name.casefold().replace(" ", "-") for leaf in space.leaves}
    if convention is None and ASEG_MARKERS.items() <= numbers.items():
        meaning: dict[int, Meaning] = {**PARCELS, **{number: number for number in numbers}}
        return scans, resolve(space, meaning, "convention", problems)
    return with_meaning(scans, space, convention, root, problems)


def _check_names(
    selection: Selection, folder_of: Mapping[tuple[str, str | None], Path], problems: Problems
) -> None:
    """Record listed folders whose scans have other ids, and a template that stands for a person."""
    people = [subject for subject, _ in folder_of]
    names = {bare_id(path.parent.name, "sub-"): ids for ids, path in folder_of.items()}
    scans = {name: bare_id(scan_id(*ids), "sub-") for name, ids in names.items()}
    renamed = {name: scan for name, scan in scans.items() if name not in (scan, *people)}
    selection.check([*people, *renamed], problems)
    for key, listed in (("subjects", selection.subjects or ()), ("exclude", selection.exclude)):
        if found := {name: renamed[name] for name in listed if name in renamed}:
            told = f"names {shorten(found)}, which the cohort calls {shorten(found.values())}"
            problems.error(key, told, "ids as the cohort has them", "correct the list")
    for name in selection.exclude:
        if name in people and scans.get(name, name) != name:
            problems.warn(
                "exclude",
                f"names {name}, a template and its person, whose {people.count(name)} scans are "
                "all left out",
                action=f"the template alone is {scans[name]}; cohort.stream leaves out all of them",
                kind="left-out",
            )


def _of_stream(
    folder_of: Mapping[tuple[str, str | None], Path], stream: Stream, problems: Problems
) -> dict[tuple[str, str | None], Path]:
    """Return the folders of a stream; warn of scans that would be there several times."""
    long = {ids for ids, path in folder_of.items() if LONGITUDINAL in path.parent.name}
    visits = {ids for ids in folder_of if (ids[0], f"{ids[1]}long") in long}
    names = {path.parent.name.partition(LONGITUDINAL)[2] for path in folder_of.values()}
    templates = {
        ids
        for ids, path in folder_of.items()
        if path.parent.name in names or (path.parent / TIME_POINTS).is_file()
    }
    if stream != "all":
        wanted = long if stream == "long" else folder_of.keys() - long - templates
        if folder_of and not wanted:
            problems.error("stream", f"{stream} leaves no scan", action="set cohort.stream=all")
        return {ids: path for ids, path in folder_of.items() if ids in wanted}
    if visits or templates:
        twice = f"{len(visits)} visits are there twice, alone and as {LONGITUDINAL}"
        more = f"{len(templates)} people have a template besides"
        problems.warn(
            "subjects",
            " and ".join(text for text, some in ((twice, visits), (more, templates)) if some),
            "one scan for each visit",
            "all count as scans; take one kind by cohort.stream=long or cohort.stream=cross",
            "duplicate-scan",
        )
    return dict(folder_of)


def _by_ids(folders: Mapping[str, Path], problems: Problems) -> dict[tuple[str, str | None], Path]:
    """Return the folders by subject and session, sorted; two of one scan are an error."""
    ids = ids_of(folders)
    ordered = sorted(folders, key=lambda name: (ids[name][0], ids[name][1] or ""))
    found: dict[tuple[str, str | None], Path] = {}
    for name in ordered:
        if found.setdefault(ids[name], folders[name]) is not folders[name]:
            clash = f"and {found[ids[name]].parent.name} are both {scan_id(*ids[name])}"
            problems.error(name, clash, action="rename one of the two", kind="duplicate-scan")
    return found


def is_in_subject(path: Path) -> bool:
    """Return whether a file is an `.mgz` or `.mgh` in the `mri` folder of a subject."""
    return path.parent.name == "mri" and path.suffix in (".mgz", ".mgh")


def ids_of(folders: Collection[str]) -> dict[str, tuple[str, str | None]]:
    """Return subject and session by the names of folders in a subjects directory."""
    ids = {name: ids_in(name) for name in folders}
    for name in folders:
        visit, is_longitudinal, base = name.partition(LONGITUDINAL)
        if not (is_longitudinal and visit and base):
            continue
        subject, session = ids_in(visit)
        if session is None:  # the template names the person, and the rest of the name the visit
            subject = bare_id(base, "sub-")
            session = re.sub(r"[\W_]", "", bare_id(visit, "sub-").removeprefix(subject)) or "1"
        ids[name] = subject, f"{session}long"
        ids |= {n: (subject, s) for n, s in ((visit, session), (base, "base")) if n in folders}
    return ids
