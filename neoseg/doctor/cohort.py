"""Problems of a cohort as a whole, from the examination of each of its scans."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neoseg.cohort import Cohort, Problem, Source
from neoseg.cohort.modality import nowhere
from neoseg.findings.command_line import override
from neoseg.findings.problems import shorten, warning
from neoseg.labels import Convention, LabelSet, LabelSpace
from neoseg.store.examined import Examined
from neoseg.store.reading import digest_of_voxels
from neoseg.store.signature import copies
from neoseg.store.volume import read_volume


def duplicate_images(examined: Sequence[Examined]) -> Iterator[Problem]:
    """Find images that several scans share: an error if the scans are of different subjects.

    Such an image could end up in both the training and the test set.
    """
    groups: dict[str, list[tuple[Examined, Path]]] = defaultdict(list)
    for item in examined:
        for digest, path in item.images:
            groups[digest].append((item, path))
    yield from _resampled_images(examined)
    for (first, first_path), *others in groups.values():
        if not others:
            continue
        several_subjects = any(item.scan.subject != first.scan.subject for item, _ in others)
        ids = (first.scan.id, *(item.scan.id for item, _ in others))
        yield Problem(
            str(others[0][1]),
            f"shows the same voxels as {first_path}"
            + (f", and so do {len(others) - 1} more" if len(others) > 1 else ""),
            "an image of its own for each scan",
            f"keep one of {shorten(ids)}",
            "duplicate-image",
            ids[1:] if several_subjects else (),
            "error" if several_subjects else "warning",
        )


def copied_labels(examined: Sequence[Examined]) -> Iterator[Problem]:
    """Warn of label files with identical labels whose images differ."""
    groups: dict[tuple[int, ...], list[Examined]] = defaultdict(list)
    for item in examined:
        if sum(count > 0 for count in item.voxels) > 1 and item.entry is not None:
            groups[item.voxels].append(item)
    for items in groups.values():
        same: dict[str, list[Examined]] = defaultdict(list)
        for item in items if len(items) > 1 else ():
            assert item.scan.label is not None
            labels = read_volume(item.scan.label, dtype=np.int64)
            same[digest_of_voxels(labels)].append(item)
        for first, *others in same.values():
            if len({item.digest for item in (first, *others)}) < 2:
                continue  # identical images are reported by `duplicate_images`
            yield warning(
                str(others[0].scan.label),
                f"holds the same labels as {first.scan.label}, and their images differ"
                + (f"; so do {len(others) - 1} more" if len(others) > 1 else ""),
                "labels of its own for each scan",
                f"look at {shorten([first.scan.id, *(item.scan.id for item in others)])}: "
                "one may have been taken for the other",
                "duplicate-labels",
            )


def incomplete_scans(cohort: Cohort) -> Iterator[Problem]:
    """Warn of scans that lack some of the cohort's modalities, and of those that none has.

    Another cohort of a training may have them.
    """
    absent = nowhere([cohort])
    for problem in absent:
        where, action = f"cohort '{cohort.name}'", f"{problem.action}; a training on it alone stops"
        yield replace(problem, where=where, action=action, kind="missing-image", severity="warning")
    lacking = defaultdict[str, list[str]](list)
    for scan in cohort.scans:
        for modality, image in zip(cohort.modalities, scan.images, strict=True):
            if image is None:
                lacking[modality].append(scan.id)
    for modality, ids in lacking.items():
        if len(ids) == len(cohort.scans):
            continue
        yield warning(
            f"cohort '{cohort.name}'",
            f"{len(ids)} of {len(cohort.scans)} scans have no {modality}: {shorten(ids)}",
            "every modality in each scan",
            "in training, missing_modality.policy decides: zero and dropout put zeros and a flag "
            "in its place, drop leaves these scans out, require stops",
            "missing-image",
        )


def _resampled_images(examined: Sequence[Examined]) -> Iterator[Problem]:
    """Yield a warning for each pair of subjects whose images match after scaling or resampling."""
    signed = [item for item in examined if item.signature]
    for i, j in copies([item.signature for item in signed]):
        first, other = signed[i], signed[j]
        if first.scan.subject != other.scan.subject and first.digest != other.digest:
            yield warning(
                str(other.scan.images[0]),
                f"shows what {first.scan.images[0]} shows, scaled, resampled or mirrored",
                "an image of its own for each subject",
                f"keep one of {first.scan.id}, {other.scan.id}, or give both to one split",
                "duplicate-image",
            )


def shown_sets(source: Source, examined: Sequence[Examined]) -> set[LabelSet]:
    """Return the label sets that voxels of the training scans have under the plan."""
    by_id = {item.scan.id: item for item in examined if item.entry is not None}
    shown: set[LabelSet] = set()
    for scan, assignment in source.of_split("train"):
        if scan.id not in by_id:
            continue
        sets = source.told(scan, assignment.protocol)
        shown |= {sets[code] for code in np.flatnonzero(by_id[scan.id].voxels)}
    return shown


def known_sets(source: Source) -> set[LabelSet]:
    """Return the label sets that annotations of the training scans can contain under the plan."""
    annotated = (pair for pair in source.of_split("train") if pair[0].label)
    return set().union(*(source.told(scan, item.protocol) for scan, item in annotated))


def unseen_leaves(
    space: LabelSpace, shown: Iterable[LabelSet], meanings: Mapping[str, Convention]
) -> Iterator[Problem]:
    """Warn of structures that no training scan shows, or that are always merged with others.

    Args:
        space: of the label table.
        shown: the label sets that voxels have.
        meanings: of the integers of each cohort, by the prefix of the keys that a message names,
            such as `++extra_cohorts.other.`.
    """
    background = space.background
    # What may be in the background was not drawn there.
    shown = {leaves for leaves in shown if background not in leaves or len(leaves) == 1}
    separate = {leaf for leaves in shown if len(leaves) == 1 for leaf in leaves}
    present = {leaf for leaves in shown for leaf in leaves}
    structures = [leaf for leaf in range(space.num_leaves) if leaf != background]
    absent = [leaf for leaf in structures if leaf not in present]
    merged = [leaf for leaf in structures if leaf in present and leaf not in separate]
    for leaves, where in ((absent, "in no training scan"), (merged, "only merged with others")):
        if leaves:
            names = shorten((space.leaves[k].abbreviation for k in leaves), 12)
            remainders = "".join(_as_remainders(leaves, meanings)) if leaves is merged else ""
            yield warning(
                f"label table '{space.name}'",
                f"has {len(leaves)} structures that occur {where}: {names}",
                "each of them in a training scan",
                f"nothing can learn them apart; {remainders}add scans that show them, annotate "
                "more subjects fully, or leave them out of the table",
                "leaf-never-shown",
            )


def _as_remainders(merged: Sequence[int], meanings: Mapping[str, Convention]) -> Iterator[str]:
    """Yield how to say that an integer of several structures is the one that no other names."""
    for prefix, meaning in meanings.items():
        space, single = meaning.space, {leaves for leaves in meaning.sets if len(leaves) == 1}
        rests, wholes = dict[int, str](), list[str]()
        for value, leaves in zip(meaning.values, meaning.sets, strict=True):
            parts = {part for part in single if part < leaves}
            rest = leaves.difference(*parts)
            if parts and len(rest) == 1 and rest <= {*merged}:
                rests[value] = space.plain_name(rest)
                wholes.append(f"the integer {value}, which is taken for {space.plain_name(leaves)}")
        if rests:
            line = override(f"{prefix}cohort.convention", meaning.written(rests))
            yield (
                f"set {line} if only what no other integer names is meant by "
                f"{', and by '.join(wholes)}; else "
            )


def unknown_classes(space: LabelSpace, known: Iterable[LabelSet]) -> Iterator[Problem]:
    """Warn of classes that contain no label set of any annotation.

    Background is what is left where every scan has some structure that was not drawn.
    """
    known = {*known, frozenset({space.background})}
    absent = [
        entry.abbreviation
        for entry in space.classes
        if not any(leaves <= entry.leaves for leaves in known)
    ]
    if absent:
        yield warning(
            f"label table '{space.name}'",
            f"has {len(absent)} classes that no protocol annotates: {shorten(absent, 12)}",
            "each class told by the annotation of some training scan",
            "they are learnt only from where they are not; change annotation.protocol or "
            "annotation.full_fraction, or leave them out of the table",
            "class-never-annotated",
        )
