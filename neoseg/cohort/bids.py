"""Read a cohort from any folder of BIDS derivatives: images, label maps, masks and ages."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

from neoseg.cohort.folders import FOLDERS, SessionFolder, find_sessions, has_subjects, list_subjects
from neoseg.cohort.formats import is_volume, stem_of
from neoseg.cohort.listed import with_meaning
from neoseg.cohort.participants import read_ages
from neoseg.cohort.picking import Entities, Picker, Wish, entities_of, with_suffix
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan
from neoseg.cohort.selection import Selection
from neoseg.findings.command_line import override
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
    mask_desc: str | None = "brain",
    labels: str | None = None,
    image_entities: Entities | None = None,
    label_entities: Entities | None = None,
    mask_entities: Entities | None = None,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find `sub-*/[ses-*/]anat/*_<modality>.nii.gz` with its `*_dseg` and `*_mask`.

    A modality may have entities, as `ce-gd_T1w` has; beside it, T1w is the one without `ce-`.

    `image_desc`, `label_desc` and `mask_desc` select among several files by the `desc-` entity,
    `image_entities` and its like by others, as in `{run: 1, space: None}` (None: without the
    entity). By default, a name without `desc-` and `space-` is preferred; several candidates are an
    error. `labels` is the folder of another data set with label files and masks, relative to
    `root`, as `derivatives/manual` beside raw images. Label and mask are those of the image's run
    and space. The integers of the label files are defined by `convention`, else by the `dseg.tsv`
    that BIDS inheritance assigns to each file, else they are taken as the indices of the label
    table, with a warning ("identity" selects this without one). Scans without a label file are
    unlabelled. The other options are those of every `reader`.
    """
    reading.settle()
    problems, selection, modalities = reading.problems, reading.selection, reading.modalities
    subjects = list_subjects(root)
    selection.check(subjects, problems)
    all_sessions = find_sessions(root, selection.wants, problems)
    sessions = [item for item in all_sessions if with_suffix(item.files, modalities[:1])]
    without_image = [item.id for item in all_sessions if item not in sessions]
    if without_image:
        problems.warn(
            root,
            f"{len(without_image)} sessions have no {modalities[0]}: {shorten(without_image)}",
            action="they are left out",
            kind="missing-image",
        )
    if not sessions:
        message = _nothing_found(root, subjects, selection, modalities[0])
        problems.error(root, *message, kind="no-scans")
        reading.settle()

    wish = Wish("image", image_desc, image_entities or {})
    pick = Picker(problems, wish)
    others = {} if labels is None else _other_sessions(root / Path(labels).expanduser(), reading)
    label_wish = Wish("label", label_desc, label_entities or {})
    mask_wish = Wish("mask", mask_desc, mask_entities or {})
    ages = read_ages([root], sessions, selection.wants, problems)
    scans = []
    for item in sessions:
        name, image = pick.first(item, modalities[0], wish.of(modalities[0], modalities))
        if name is None:
            problems.error(
                item.path,
                f"has no {modalities[0]} with {wish}",
                "one file for each session",
                "change cohort.image_desc and image_entities, or exclude the subject",
                "missing-image",
                [item.id],
            )
            continue
        other_images = [
            pick.follow(item, (m,), wish.of(m, modalities), name) for m in modalities[1:]
        ]
        age = ages[item.subject, item.session]
        other = others.get((item.subject, item.session)) or others.get((item.subject, None))
        labelled = item if labels is None else other
        masked = item if other is None else replace(other, files={**item.files, **other.files})
        scans.append(
            Scan(
                subject=item.subject,
                session=item.session,
                images=(image, *other_images),
                label=pick.follow(labelled, LABEL_SUFFIXES, label_wish, name) if labelled else None,
                mask=pick.follow(masked, MASK_SUFFIXES, mask_wish, name),
                scan_age=age.scan,
                birth_age=age.birth,
                cohort=reading.name,
            )
        )
    pick.report()
    described = sessions if labels is None else list(others.values())
    _check_labels(scans, described, label_desc, problems, root if labels is None else None)
    top = root if labels is None else root / Path(labels).expanduser()
    return with_meaning(scans, space, convention, top, problems)


def _other_sessions(folder: Path, reading: Reading) -> dict[tuple[str, str | None], SessionFolder]:
    """Return the sessions of the data set with the label files, by subject and session."""
    if not has_subjects(folder):
        found = "holds no sub-*/[ses-*/]anat" if folder.is_dir() else "is not a folder"
        action = "set cohort.labels, which is relative to cohort.root"
        reading.problems.error(folder, found, "a data set with label files", action, "no-labels")
        reading.settle()
    sessions = find_sessions(folder, reading.selection.wants, reading.problems)
    return {(item.subject, item.session): item for item in sessions}


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
    volumes = filter(is_volume, chain.from_iterable(root.glob(f"{way}/*") for way in FOLDERS))
    suffixes = {stem_of(path).split("_")[-1] for path in volumes}
    if suffixes & {*LABEL_SUFFIXES} and suffixes <= {*LABEL_SUFFIXES, *MASK_SUFFIXES}:
        return (
            f"holds label files and no {modality}",
            f"sub-*/[ses-*/]anat/*_{modality}.nii.gz",
            "set cohort.root to the folder of the images, and cohort.labels to this one",
        )
    return (
        f"holds no scans ({len(known)} folders sub-*)",
        f"sub-*/[ses-*/]anat/*_{modality}.nii.gz",
        "set cohort.root to the folder that holds sub-*, or change cohort.modalities",
    )


def _check_labels(
    scans: Sequence[Scan],
    sessions: Sequence[SessionFolder],
    label_desc: str | None,
    problems: Problems,
    root: Path | None,
) -> None:
    """Warn of unlabelled scans; error if `label_desc` matches none of the existing label files.

    If no scan has a label file, those in data sets below `root`/derivatives are named.
    """
    descs = _descs(sessions)
    if label_desc is not None and descs and label_desc not in descs:
        problems.error(
            "label_desc", f"no label file has desc-{label_desc}", f"one of {', '.join(descs)}"
        )
    else:
        hint = _single_structures(sessions)
        if root is not None and not any(scan.label for scan in scans):
            hint = _in_derivatives(root) or hint
        note_unlabelled(scans, f"label file{hint}", problems)


def _in_derivatives(root: Path) -> str:
    """Describe the data sets below a raw one that hold label files."""
    names = [
        f"derivatives/{folder.name}"
        for folder in sorted(root.glob("derivatives/*"))
        if any(_label_files(folder))
    ]
    if not names:
        return ""
    lines = " or ".join(override("cohort.labels", name) for name in names)
    return f" beside the images, and {shorten(names)} hold some: set {lines}"


def _label_files(folder: Path) -> Iterator[Path]:
    patterns = (f"{way}/*_{suffix}.*" for way in FOLDERS for suffix in LABEL_SUFFIXES)
    return chain.from_iterable(folder.glob(pattern) for pattern in patterns)


def _single_structures(sessions: Sequence[SessionFolder]) -> str:
    """Describe masks of single structures, `sub-*_label-*_mask`, which are no label maps."""
    names = (name for item in sessions for name in with_suffix(item.files, ["mask", "roi"]))
    found = sorted(name for name in names if entities_of(name).get("label", "brain") != "brain")
    if not found:
        return ""
    return f" ({shorten(found, 2)} show single structures; write them into one label map a scan)"


def _descs(sessions: Sequence[SessionFolder]) -> list[str]:
    names = (name for item in sessions for name in with_suffix(item.files, LABEL_SUFFIXES))
    return sorted({entities_of(name).get("desc", "(none)") for name in names})
