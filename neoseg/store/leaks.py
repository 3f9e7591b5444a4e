"""One person in two parts of the data: by the id of a subject, or by what an image shows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from neoseg.cohort import Plan, Scan
from neoseg.cohort.split import SPLITS
from neoseg.store.nifti import DataError
from neoseg.store.signature import copies

log = logging.getLogger(__name__)

Leaks = Literal["stop", "namesakes", "tell"]
"""What one person in two parts is: an error; an error where images say so, since equal ids of two
cohorts are of different people; or a line in the log.
"""


LISTED = 20
"""Lines of a message at most."""


@dataclass(frozen=True)
class Member:
    """A scan and the part of the data that it belongs to, such as "train".

    `digest` and `signature` are those of `Examined`, "" where only ids are compared.
    """

    scan: Scan
    part: str
    digest: str = ""
    signature: str = ""

    @property
    def person(self) -> str:
        """The id by which a subject is known again in another cohort."""
        return self.scan.subject.casefold().removeprefix("sub-")

    def __str__(self) -> str:
        return f"{self.scan.cohort}/{self.scan.id}"


@dataclass(frozen=True)
class Leak:
    """Two scans of one person in different parts, and how that shows."""

    first: Member
    other: Member
    how: str

    def __str__(self) -> str:
        first, other = self.first, self.other
        return (
            f"{other.scan.images[0] or other} is for {other.part} and {self.how} "
            f"{first.scan.images[0] or first}, which is for {first.part}"
        )


def members_of(plan: Plan) -> list[Member]:
    """Return the scans that a plan uses, without what their images show."""
    return [
        Member(scan, split)
        for source in plan.sources
        for split in SPLITS
        for scan, _ in source.of_split(split)
    ]


def by_name(members: Sequence[Member]) -> Iterator[Leak]:
    """Yield each further part in which the id of a subject stands, whatever the cohort."""
    people: dict[str, dict[str, Member]] = {}
    for member in members:
        people.setdefault(member.person, {}).setdefault(member.part, member)
    for parts in people.values():
        first, *others = parts.values()
        for other in others:
            yield Leak(first, other, "has the subject id of")


def by_image(members: Sequence[Member]) -> Iterator[Leak]:
    """Yield each pair of images in different parts that show the same."""
    known = [member for member in members if member.signature]
    for i, j in copies([member.signature for member in known]):
        first, other = known[i], known[j]
        if first.part != other.part:
            exact = first.digest == other.digest
            how = "shows the same voxels as" if exact else "shows the same, scaled or resampled, as"
            yield Leak(first, other, how)


def require_none(found: Iterable[Leak], leaks: Leaks, remedy: str) -> None:
    """Log what was found where `leaks` is "tell".

    Raises:
        DataError: naming all of them.
    """
    lines = [f"  - {leak}" for leak in found]
    if not lines:
        return
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    text = "\n".join(["one person in two parts of the data:", *lines[:LISTED], *more])
    if leaks != "tell":
        raise DataError(f"{text}\n{remedy}")
    log.warning("%s", text)
