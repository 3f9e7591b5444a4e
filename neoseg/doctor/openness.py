"""Warn of what label files leave open although nothing says so."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from neoseg.cohort import Cohort, Problem, Scan, Source
from neoseg.cohort.split import SPLITS
from neoseg.findings.command_line import override
from neoseg.findings.problems import shorten, warning
from neoseg.labels import Convention, LabelError, LabelSet, LabelSpace, Protocol
from neoseg.store.examined import Examined

NEARLY_ALL, MOSTLY = 0.05, 0.5
"""Share of the voxels of structures up to which a scan counts as full, and from which as coarse."""


def without_integer(cohort: Cohort, scans: Iterable[Scan], prefix: str = "") -> Iterator[Problem]:
    """Warn of structures for which the label files of scans have no integer.

    Args:
        cohort: of the scans.
        scans: those without a label file are passed over.
        prefix: of the keys that the message names, such as `++extra_cohorts.other.`.
    """
    space, labelled = cohort.convention.space, [scan for scan in scans if scan.label]
    groups: dict[tuple[LabelSet, Convention], list[str]] = defaultdict(list)
    for scan in labelled:
        leaves = scan.undrawn(cohort.convention) - scan.not_drawn
        if leaves:
            groups[leaves, scan.meaning(cohort.convention)].append(scan.id)
    for (leaves, meaning), ids in groups.items():
        names = [space.plain_name(frozenset([leaf])) for leaf in sorted(leaves)]
        shown = shorten((space.leaves[leaf].abbreviation for leaf in sorted(leaves)), 12)
        free = (value for value in count(1) if value not in meaning.values)
        written = meaning.written(dict(zip(free, names, strict=False)))
        line = (
            override(f"{prefix}cohort.convention", written)
            if meaning is cohort.convention
            else f"{written} as the convention of their protocol"
        )
        yield warning(
            f"cohort '{cohort.name}'",
            f"the label files of {len(ids)} of {len(labelled)} scans have no integer for {shown}",
            "one for each structure of the label table",
            f"there, background counts as 'background or {shown}', and no score is given; "
            "where these scans surely show none of it, name an integer for it that no voxel "
            f"has, such as {line}",
            "no-integer",
        )


def mostly_open(
    source: Source, examined: Sequence[Examined], prefix: str = ""
) -> Iterator[Problem]:
    """Warn of scans that count as fully annotated, and whose files tell little more than regions.

    Args:
        source: the plan of the cohort.
        examined: its scans.
        prefix: of the keys that the message names, such as `++extra_cohorts.other.`.
    """
    space = source.cohort.convention.space
    scans = {item.scan.id: item for item in examined if item.voxels}
    full, coarse, merged = list[str](), list[str](), set[LabelSet]()
    mixed = False
    for part in SPLITS:
        for scan, assignment in source.of_split(part):
            if assignment.stream != "full" or scan.id not in scans:
                continue
            sets = source.told(scan, assignment.protocol)
            numbers = zip(sets, scans[scan.id].voxels, strict=True)
            shown = [(leaves, number) for leaves, number in numbers if number]
            around = {leaves for leaves, _ in shown if space.background in leaves}
            counts = [(leaves, number) for leaves, number in shown if leaves not in around]
            total = sum(number for _, number in counts)
            undecided = sum(number for leaves, number in counts if len(leaves) > 1)
            regions = {leaves for leaves, _ in counts if len(leaves) > 1}
            parts = any(leaves < region for leaves, _ in counts for region in regions)
            # Most structures may be in the background, as in files of a lesion alone; those that
            # are said to be undrawn, or have no integer, are told as such.
            told_of, hidden = around - {space.everything}, scan.undrawn(source.cohort.convention)
            vague = {s for s in told_of if len(s - hidden) > MOSTLY * space.num_leaves}
            if vague:
                coarse.append(scan.id)
                merged |= vague
            elif undecided <= NEARLY_ALL * total:
                full.append(scan.id)
            elif undecided <= MOSTLY * total:
                mixed = True
            else:
                coarse.append(scan.id)
                mixed |= parts
                merged |= regions
    if not coarse:
        return
    yield warning(
        f"cohort '{source.cohort.name}'",
        f"{len(coarse)} scans that count as annotated in full have mostly regions of several "
        f"structures: {shorten(coarse)}",
        "scans in which nearly all structures are told apart",
        "training takes them as they are, but batches, label budget and reports count them as "
        f"full; {_what_to_say(space, full, () if mixed else merged, prefix)}",
        "full-but-coarse",
    )


def _what_to_say(
    space: LabelSpace, full: Sequence[str], merged: Iterable[LabelSet], prefix: str
) -> str:
    """Return how to say that the scans `full` are full, and others have the regions `merged`.

    Without regions there is nothing that would say it.
    """
    if not merged:
        return "no protocol describes these files, so keep that in mind"
    regions = [sorted(leaves) for leaves in sorted(merged, key=sorted)]
    names = [space.plain_name(frozenset(leaves)) for leaves in regions]
    indices = [[space.leaves[leaf].index for leaf in leaves] for leaves in regions]
    try:
        Protocol.parse(space, {"name": "regions", "merge": indices})
    except LabelError:  # regions that overlap
        return "say who is by annotation=table, with a protocol for each kind of file"
    settings = {
        "full": f"[{', '.join(full)}]",
        "protocol.name": "regions",
        "protocol.merge": f"[{', '.join(names)}]",
        "protocol.describes": "true",
    }
    lines = (override(f"{prefix}annotation.{key}", value) for key, value in settings.items())
    if full:
        return f"say who is, by {' '.join(lines)}"
    draw = "draw some in full, and name those by annotation.full"
    return f"{draw}; until then, say that nobody is, by {' '.join(lines)}"
