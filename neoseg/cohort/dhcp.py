"""Read a cohort from the developing Human Connectome Project (dHCP), releases 1 to 3."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from neoseg.cohort.folders import (
    PIPELINE_FOLDERS,
    SessionFolder,
    find_sessions,
    has_subjects,
    list_subjects,
)
from neoseg.cohort.label_tables import convention_of
from neoseg.cohort.meaning import integer_keys, resolve
from neoseg.cohort.participants import read_ages
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.releases import COARSER, LABEL_VALUES, RELEASES, Release, releases_of
from neoseg.cohort.scan import Scan
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

MODALITIES = tuple(dict.fromkeys(modality for modality, _ in RELEASES[0].images))


@reader("dhcp", MODALITIES)
def read_dhcp(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    labels: str = "drawem9",
    restore: bool = True,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find the scans of a dHCP tree; the release is detected from its file names.

    `root` is the top of the tree or its pipeline folder. `labels` selects the 9 tissues or the 87
    structures; tissues can also be read in a label space of the 87, as sets of structures.
    `restore` selects the bias-corrected images. `convention` adds label values or overrides the
    meaning of some. The other options are those of every `reader`. Files are not opened; only
    names and sizes are checked.
    """
    problems, selection, modalities = reading.problems, reading.selection, reading.modalities
    if labels not in LABEL_VALUES:
        problems.error("labels", f"found {labels!r}", f"one of {', '.join(LABEL_VALUES)}")
    reading.settle()

    if isinstance(convention, str):
        meaning = convention_of(space, convention, {}, root, problems)
    else:
        meaning = _convention(space, labels, convention or {}, problems)
    base = pipeline_folder(root)
    selection.check(list_subjects(base), problems)
    sessions = find_sessions(base, selection.wants, problems)
    if not sessions:
        problems.error(root, *_nothing_found(root, base), kind="no-scans")
        reading.settle()

    release = _detect(sessions, problems)
    ages = read_ages(list(dict.fromkeys([base, root])), sessions, selection.wants, problems)
    scans = [
        Scan(
            subject=item.subject,
            session=item.session,
            images=images,
            label=item.usable(release.labels[labels], problems),
            mask=next((p for n in release.masks if (p := item.usable(n, problems))), None),
            scan_age=ages[item.subject, item.session].scan,
            birth_age=ages[item.subject, item.session].birth,
            cohort=reading.name,
        )
        for item in sessions
        if (images := _images(item, release, modalities, restore, problems))[0] is not None
    ]
    _check_labels(scans, sessions, release, labels, problems)
    return scans, meaning


def _convention(
    space: LabelSpace, labels: str, changes: Mapping[int, Meaning], problems: Problems
) -> Convention | None:
    """Return the convention of files with the space's own indices, or with coarser labels."""
    values = set(LABEL_VALUES[labels])
    mapping: dict[int, Meaning]
    if values == {leaf.index for leaf in space.leaves}:
        mapping = {value: value for value in values}
    elif labels in COARSER:
        abbreviations = {entry.abbreviation.casefold() for entry in space.classes}
        mapping = {
            value: next((n for n in names if n.casefold() in abbreviations), names[0])
            for value, names in enumerate(COARSER[labels])
        }
    else:
        problems.error(
            "labels",
            f"{labels} files hold the values 0-{max(values)}, and label table '{space.name}' has "
            f"{space.num_leaves} leaves",
            f"a table with the leaves of {labels}",
            f"set labels={labels} (the table), or read other label files with cohort.labels",
        )
        return None
    return resolve(space, mapping | integer_keys(changes), "convention", problems)


def pipeline_folder(root: Path) -> Path:
    """Return the deepest folder with `sub-*`, as the top of a tree may also hold raw images."""
    candidates = (root / folder for folder in PIPELINE_FOLDERS)
    return next((folder for folder in candidates if has_subjects(folder)), root)


def _nothing_found(root: Path, base: Path) -> tuple[str, str, str]:
    if not root.is_dir():
        return "is not a folder", "the top of a dHCP tree", "set cohort.root"
    if has_subjects(base):
        number = len(list_subjects(base))
        return (
            f"holds {number} subjects, and the filters leave none with images",
            "at least one",
            "change cohort.subjects or cohort.exclude",
        )
    places = ", ".join(str(root / folder) for folder in PIPELINE_FOLDERS)
    return (
        "holds no scans",
        f"sub-*/ses-*/anat with NIfTI files in one of {places}",
        "set cohort.root to the top of the tree or to the folder that holds sub-*",
    )


def _detect(sessions: Sequence[SessionFolder], problems: Problems) -> Release:
    """Return the release of the cohort; record an error if sessions belong to several."""
    by_release: dict[int, list[str]] = {}
    for item in sessions:
        for release in releases_of(item.files):
            by_release.setdefault(release.number, []).append(item.id)
    if len(by_release) > 1:
        counts = "; ".join(
            f"release {number} in {len(ids)} sessions ({shorten(ids, 3)})"
            for number, ids in sorted(by_release.items())
        )
        minority = sorted(by_release, key=lambda n: len(by_release[n]))[:-1]
        problems.error(
            "files",
            f"are named as in {counts}",
            "one release",
            "keep the releases in two roots",
            "mixed-releases",
            dict.fromkeys(scan for number in minority for scan in by_release[number]),
        )
    # If no name is specific to a release, there are only images, and release 3 has all of these.
    number = max(by_release, key=lambda n: len(by_release[n]), default=RELEASES[0].number)
    return next(release for release in RELEASES if release.number == number)


def _images(
    item: SessionFolder,
    release: Release,
    modalities: Sequence[str],
    restore: bool,
    problems: Problems,
) -> tuple[Path | None, ...]:
    paths = []
    for position, modality in enumerate(modalities):
        path = item.usable(release.images[modality, restore], problems)
        alternative = release.images[modality, not restore]
        if path is None and (position == 0 or alternative in item.files):
            hint = f", but {item.id}_{alternative} is there" if alternative in item.files else ""
            problems.error(
                item.path,
                f"has no {item.id}_{release.images[modality, restore]}{hint}",
                f"the {'' if restore else 'un'}corrected {modality} (release {release.number})",
                f"set restore={not restore}" if hint else "fetch it, or exclude the subject",
                "missing-image",
                [item.id],
            )
        paths.append(path)
    return tuple(paths)


def _check_labels(
    scans: Sequence[Scan],
    sessions: Sequence[SessionFolder],
    release: Release,
    labels: str,
    problems: Problems,
) -> None:
    """Warn of unlabelled scans; it is an error if all are, but other label files exist."""
    name = release.labels[labels]
    other_labels = [
        labelling
        for labelling, file in release.labels.items()
        if labelling != labels and any(file in item.files for item in sessions)
    ]
    if other_labels and scans and all(scan.label is None for scan in scans):
        problems.error(
            "labels",
            f"no scan has a file {name}, but files of {', '.join(other_labels)} exist",
            action=f"set cohort.labels={other_labels[0]}",
            kind="no-labels",
        )
    else:
        note_unlabelled(scans, f"file {name}", problems)
