"""One person in two parts, by id and by image."""

from __future__ import annotations

import pytest

from neoseg.cohort import Scan
from neoseg.store.leaks import Member, by_name


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
