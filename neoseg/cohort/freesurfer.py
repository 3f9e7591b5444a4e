"""Read a subjects directory of FreeSurfer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from neoseg.cohort.formats import fault_of
from neoseg.cohort.label_tables import convention_of
from neoseg.cohort.meaning import resolve
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan, scan_id
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

TEMPLATES = "fsaverage"
"""How the names of subjects begin that FreeSurfer brings along and links to."""

NAMED = {2: "left-cerebral-white-matter", 3: "left-cerebral-cortex", 42: "right-cerebral-cortex"}
"""Structures by which a label table is known for one of FreeSurfer's."""

PARCELS = {1000 + n: 3 for n in range(36)} | {2000 + n: 42 for n in range(36)}
"""What the parcels of aparc+aseg are in aseg: left and right cerebral cortex."""


@reader("freesurfer", usual=("T1",))
def read_freesurfer(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    labels: str = "aseg",
    mask: str | None = None,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find `<subject>/mri/<modality>.mgz` with `<subject>/mri/<labels>.mgz`, as `recon-all` has it.

    Modalities, `labels` and `mask` are names of files without ending, such as orig, norm and
    aparc+aseg. In a label table with FreeSurfer's numbers and names (`labels=aseg`) the integers
    are those, and parcels that it lacks are cortex; else `convention` and other options are those
    of `read_bids`. Templates (fsaverage) are left out.
    """
    problems = reading.problems
    reading.settle()
    folders = {path.parent.name: path for path in sorted(root.glob("*/mri")) if path.is_dir()}
    known = {name: path for name, path in folders.items() if not name.startswith(TEMPLATES)}
    if not known:
        wanted = f"SUBJECT/mri/{reading.modalities[0]}.mgz"
        problems.error(root, "holds no subjects", wanted, "set cohort.root", "no-scans")
    reading.settle()
    ids = {name.removeprefix("sub-"): path for name, path in known.items()}
    reading.selection.check(list(ids), problems)
    scans = []
    for subject, folder in sorted(ids.items()):
        if not reading.selection.wants(subject):
            continue
        images = [folder / f"{name}.mgz" for name in reading.modalities]
        others = [folder / f"{name}.mgz" if name else None for name in (labels, mask)]
        for path in (*images, *filter(None, others)):
            why, kind = fault_of(path)
            if why and (path == images[0] or path.is_symlink() or path.exists()):
                act = "let recon-all finish, or leave the subject out (cohort.exclude)"
                about = [scan_id(subject, None)]
                problems.error(path, why, "a volume of FreeSurfer", act, kind, about)
        kept = tuple(path if path.exists() else None for path in images[1:])
        label, brain = (path if path and path.exists() else None for path in others)
        scans.append(
            Scan(subject, None, (images[0], *kept), label, brain, None, None, reading.name)
        )
    note_unlabelled(scans, f"file mri/{labels}.mgz", problems)
    numbers = {leaf.index: leaf.name.casefold().replace(" ", "-") for leaf in space.leaves}
    if convention is None and NAMED.items() <= numbers.items():
        meaning: dict[int, Meaning] = {**PARCELS, **{number: number for number in numbers}}
        return scans, resolve(space, meaning, "convention", problems)
    files = {scan.id: scan.label for scan in scans if scan.label is not None}
    return scans, convention_of(space, convention, files, root, problems)
