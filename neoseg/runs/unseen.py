"""People on whom networks were trained, recognised by their ids and by what their images show."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from neoseg.cohort import Scan
from neoseg.runs.people import seen_by
from neoseg.store import DataError, read_volume
from neoseg.store.leaks import Leak, Member, by_image, by_name
from neoseg.store.reading import shown_by

Ids = Literal["all", "cohort", "none"]
"""Which equal ids name one person: all, those within a cohort, or none."""


def member_of(scan: Scan, part: str) -> Member:
    """Return a scan with the fingerprint of its first image.

    An image that cannot be read has none; whoever uses it reports that.
    """
    image = scan.images[0]
    try:
        return Member(scan, part, *(shown_by(read_volume(image)) if image is not None else ()))
    except DataError:
        return Member(scan, part)


def seen_in_training(
    runs: Iterable[Path],
    members: Sequence[Member],
    ids: Ids,
    parts: Sequence[str] = ("train", "val"),
    before: bool = True,
) -> list[Leak]:
    """Return which of some scans are of people that runs used.

    Args:
        runs: run folders.
        members: the scans, with the same `part`.
        ids: which equal ids name one person; images are always compared.
        parts: of the runs.
        before: whether people count on whom those networks were trained that the runs started from.
    """
    used = [m for run in runs for m in seen_by(run, parts, before)]
    once = {(str(m), m.part, m.digest): m for m in used}  # runs of an ensemble share people
    everyone = [*once.values(), *members]
    cohorts = {"all": [None], "none": []}.get(ids, sorted({m.scan.cohort for m in members}))
    named = [
        leak
        for cohort in cohorts
        for leak in by_name([m for m in everyone if cohort in (None, m.scan.cohort)])
    ]
    asked = {id(member) for member in members}
    return [leak for leak in (*named, *by_image(everyone)) if id(leak.other) in asked]
