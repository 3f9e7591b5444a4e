from __future__ import annotations

import logging
import pickle

import pytest

from neoseg.cohort import CohortError, Problem
from neoseg.findings.problems import Problems, shorten


def test_nothing_found_raises_nothing() -> None:
    assert Problems().settle("cohort") == ()


def test_warnings_are_logged_even_where_errors_are_raised(caplog: pytest.LogCaptureFixture) -> None:
    problems = Problems()
    problems.warn("a.tsv", "is odd")
    problems.error("b.tsv", "is wrong", "right", "correct it")
    problems.error("c.tsv", "is wrong too")
    with (
        caplog.at_level(logging.WARNING, "neoseg.cohort"),
        pytest.raises(CohortError, match="2 problems") as caught,
    ):
        problems.settle("cohort 'x'")
    assert "cohort 'x': a.tsv: is odd" in caplog.text
    assert str(caught.value).splitlines()[1:] == [
        "  - b.tsv: is wrong; expected right; correct it",
        "  - c.tsv: is wrong too",
    ]


def test_the_error_travels_between_processes() -> None:
    error = CohortError("title", [Problem("a", "b", "c", "d")])
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.problems == error.problems


def test_shorten() -> None:
    assert shorten(range(3)) == "0, 1, 2"
    assert shorten(range(12), 2) == "0, 1 and 10 more"
