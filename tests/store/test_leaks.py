"""One person in two parts, by id and by image."""

from __future__ import annotations

import pytest

from neoseg.cohort import Scan
from neoseg.store import DataError
from neoseg.store.leaks import Leak, Member, by_name, require_none


def member(subject: str, part: str, cohort: str = "one") -> Member:
    return Member(Scan(subject, None, (None,), None, None, None, None, cohort), part)


@pytest.mark.parametrize(
    ("first", "other", "same"),
    [
        ("07", "7", True),
        ("007", "7", True),
        ("sub-CC07", "cc7", True),
        ("10", "1", False),
        ("70", "7", False),
        ("0", "00", True),
        ("A100", "A10", False),
        ("10.05", "10.5", False),
    ],
)
def test_leading_zeros_make_no_other_person(first: str, other: str, same: bool) -> None:
    """Spreadsheets drop them, exports add them."""
    for part, cohort in (("test", "two"), ("evaluation", "one")):
        members = [member("x", "train"), member(first, "train"), member(other, part, cohort)]
        assert bool(list(by_name(members))) == same


def test_within_a_cohort_they_do() -> None:
    """Who calls one 1 and another 01 means two; `prepare` tells that they look alike."""
    members = [member("1", "train"), member("01", "val"), member("01", "test")]
    (leak,) = by_name(members)
    assert (leak.first.scan.subject, leak.first.part, leak.other.part) == ("01", "val", "test")


def test_a_person_found_in_two_ways_is_told_once() -> None:
    people = [(member(str(n), "train"), member(str(n), "evaluation")) for n in range(30)]
    hows = ("has the subject id of", "shows the same voxels as")
    leaks = [Leak(*pair, how) for how in hows for pair in people]
    with pytest.raises(DataError) as caught:
        require_none(leaks, "stop", "do x")
    lines = str(caught.value).splitlines()
    assert lines[-2:] == ["  and 10 more", "do x"]
    assert sum("subject id" in line for line in lines) == 20
