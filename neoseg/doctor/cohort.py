"""Findings about a cohort as a whole, from what is known of each of its scans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from neoseg.cohort import Problem, Source
from neoseg.findings.problems import shorten
from neoseg.labels import LabelSet, LabelSpace
from neoseg.store.examined import Examined
from neoseg.store.reading import digest_of_voxels
from neoseg.store.signature import copies
from neoseg.store.volume import read_volume


def duplicate_images(examined: Sequence[Examined]) -> list[Problem]:
    """One image under the names of several scans: an error where they are of several subjects.

    Such a subject could stand in the training and in the test set.
    """
    groups: dict[str, list[tuple[Examined, Path]]] = defaultdict(list)
    for item in examined:
        for digest, path in item.images:
            groups[digest].append((item, path))
    found = [*_resampled_images(examined)]
    for (first, shown), *others in groups.values():
        if not others:
            continue
        several = any(item.scan.subject != first.scan.subject for item, _ in others)
        ids = (first.scan.id, *(item.scan.id for item, _ in others))
        found.append(
            Problem(
                str(others[0][1]),
                f"shows the same voxels as {shown}"
                + (f", and so do {len(others) - 1} more" if len(others) > 1 else ""),
                "an image of its own for each scan",
                f"keep one of {shorten(ids)}",
                "duplicate-image",
                ids[1:] if several else (),
                "error" if several else "warning",
            )
        )
    return found


def copied_labels(examined: Sequence[Examined]) -> list[Problem]:
    """Warn of label files with the same labels whose images show different things."""
    groups: dict[tuple[int, ...], list[Examined]] = defaultdict(list)
    for item in examined:
        if sum(count > 0 for count in item.voxels) > 1 and item.entry is not None:
            groups[item.voxels].append(item)
    found = []
    for items in groups.values():
        same: dict[str, list[Examined]] = defaultdict(list)
        for item in items if len(items) > 1 else ():
            assert item.scan.label is not None
            labels = read_volume(item.scan.label, dtype=np.int64)
            same[digest_of_voxels(labels)].append(item)
        for first, *others in same.values():
            if len({item.digest for item in (first, *others)}) < 2:
                continue  # one scan under two names is another finding
            found.append(
                Problem(
                    str(others[0].scan.label),
                    f"holds the same labels as {first.scan.label}, and their images differ"
                    + (f"; so do {len(others) - 1} more" if len(others) > 1 else ""),
                    "labels of its own for each scan",
                    f"look at {shorten([first.scan.id, *(item.scan.id for item in others)])}: "
                    "one may have been taken for the other",
                    "duplicate-labels",
                    severity="warning",
                )
            )
    return found


def _resampled_images(examined: Sequence[Examined]) -> Iterator[Problem]:
    """Yield a warning for each image of one subject that shows what an image of another shows."""
    known = [item for item in examined if item.signature]
    for i, j in copies([item.signature for item in known]):
        first, other = known[i], known[j]
        if first.scan.subject != other.scan.subject and first.digest != other.digest:
            yield Problem(
                str(other.scan.images[0]),
                f"shows what {first.scan.images[0]} shows, scaled or resampled",
                "an image of its own for each subject",
                f"keep one of {first.scan.id}, {other.scan.id}, or give both to one split",
                "duplicate-image",
                severity="warning",
            )


def shown_sets(source: Source, examined: Sequence[Examined]) -> set[LabelSet]:
    """Return the label sets that voxels of the training scans have under the plan."""
    known = {item.scan.id: item for item in examined if item.entry is not None}
    shown: set[LabelSet] = set()
    for scan, assignment in source.of_split("train"):
        if scan.id not in known:
            continue
        protocol = source.protocols[assignment.protocol]
        sets = scan.sets(source.cohort.convention)
        shown |= {protocol.apply(sets[code]) for code in np.flatnonzero(known[scan.id].voxels)}
    return shown


def known_sets(source: Source) -> set[LabelSet]:
    """Return the label sets that the annotation of a training scan can hold under the plan."""
    meaning = source.cohort.convention
    pairs = {
        (scan.sets(meaning), item.protocol) for scan, item in source.of_split("train") if scan.label
    }
    return {source.protocols[name].apply(leaves) for sets, name in pairs for leaves in sets}


def unseen_leaves(space: LabelSpace, shown: Iterable[LabelSet]) -> list[Problem]:
    """Structures that no training scan shows, or none on their own."""
    shown = {leaves for leaves in shown if leaves != space.everything}
    alone = {leaf for leaves in shown if len(leaves) == 1 for leaf in leaves}
    anyhow = {leaf for leaves in shown for leaf in leaves}
    absent = [k for k in range(space.num_leaves) if k not in anyhow]
    merged = [k for k in range(space.num_leaves) if k in anyhow and k not in alone]
    found = []
    for leaves, what in ((absent, "in no training scan"), (merged, "only merged with others")):
        if leaves:
            names = shorten((space.leaves[k].abbreviation for k in leaves), 12)
            found.append(
                Problem(
                    f"label table '{space.name}'",
                    f"has {len(leaves)} structures that occur {what}: {names}",
                    "each of them in a training scan",
                    "nothing can learn them apart; add scans that show them, annotate more "
                    "subjects fully, or leave them out of the table",
                    "leaf-never-shown",
                    severity="warning",
                )
            )
    return found


def unknown_classes(space: LabelSpace, known: Iterable[LabelSet]) -> list[Problem]:
    """Classes inside which no annotation ever puts a voxel."""
    known = set(known)
    absent = [
        entry.abbreviation
        for entry in space.classes
        if not any(leaves <= entry.leaves for leaves in known)
    ]
    if not absent:
        return []
    return [
        Problem(
            f"label table '{space.name}'",
            f"has {len(absent)} classes that no protocol annotates: {shorten(absent, 12)}",
            "each class told by the annotation of some training scan",
            "they are learnt from what they are not; change annotation.protocol or "
            "annotation.full_fraction, or leave them out of the table",
            "class-never-annotated",
            severity="warning",
        )
    ]
