from __future__ import annotations

from pathlib import Path

import pytest
from cohort_trees import add_scan, add_table

from neoseg.cohort.folders import find_sessions
from neoseg.cohort.participants import Ages, parse_age, read_ages
from neoseg.findings.problems import Problems


@pytest.mark.parametrize("text", ["-999", "-999.0", "0.0", "0", "n/a", "N/A", "", "nan", "None"])
def test_missing_values_are_silent(text: str) -> None:
    problems = Problems()
    assert parse_age(text, "row", problems) is None
    assert not problems.warnings


@pytest.mark.parametrize(("text", "age"), [("15", 15.0), ("28.43", 28.43), ("60.0", 60.0)])
def test_possible_ages(text: str, age: float) -> None:
    problems = Problems()
    assert parse_age(text, "row", problems) == age
    assert not problems.warnings


@pytest.mark.parametrize("text", ["14.9", "60.1", "280", "-3", "thirty", "inf", "38,5"])
def test_impossible_ages_are_warned_of(text: str) -> None:
    problems = Problems()
    assert parse_age(text, "participants.tsv row 4", problems) is None
    assert [str(w).split(":")[0] for w in problems.warnings] == ["participants.tsv row 4"]


def ages_of(root: Path, problems: Problems) -> dict[str, Ages]:
    sessions = find_sessions(root, lambda _: True, problems)
    found = read_ages([root], sessions, lambda _: True, problems)
    return {f"{subject}/{session}": ages for (subject, session), ages in found.items()}


def test_the_table_of_the_session_outranks_the_participants(tmp_path: Path) -> None:
    add_scan(tmp_path, "A", "1", ["T2w"])
    add_scan(tmp_path, "A", "2", ["T2w"])
    add_table(tmp_path / "participants.tsv", "participant_id birth_age scan_age", "A 30 35")
    add_table(tmp_path / "sub-A/sub-A_sessions.tsv", "session_id scan_age", "1 33", "2 -999")
    problems = Problems()
    assert ages_of(tmp_path, problems) == {"A/1": Ages(30, 33), "A/2": Ages(30, 35)}
    assert not problems.warnings


def test_contradicting_rows_are_an_error_and_repeated_ones_are_not(tmp_path: Path) -> None:
    for subject in "AB":
        add_scan(tmp_path, subject, None, ["T2w"])
    add_table(
        tmp_path / "participants.tsv",
        "participant_id scan_age",
        "A 30",
        "sub-A 31",
        "B 32",
        "sub-B 32.0",
    )
    problems = Problems()
    ages_of(tmp_path, problems)
    assert [str(error) for error in problems.errors] == [
        f"{tmp_path}/participants.tsv row 3 (sub-A): contradicts an earlier row of the same scan; "
        "expected one row; delete one"
    ]


def test_a_table_without_the_column_of_ids(tmp_path: Path) -> None:
    add_scan(tmp_path, "A", None, ["T2w"])
    add_table(tmp_path / "participants.tsv", "subject age", "A 30")
    problems = Problems()
    ages_of(tmp_path, problems)
    assert "has the columns subject, age; expected the columns participant_id" in str(
        problems.errors[0]
    )


def test_windows_line_ends_a_byte_order_mark_and_short_rows(tmp_path: Path) -> None:
    add_scan(tmp_path, "007", None, ["T2w"])
    add_scan(tmp_path, "008", None, ["T2w"])
    text = "\ufeffParticipant_ID\tscan_age\tnote\r\n007\t30\r\n\r\n008\r\n"
    (tmp_path / "participants.tsv").write_bytes(text.encode())
    problems = Problems()
    assert ages_of(tmp_path, problems) == {"007/None": Ages(None, 30), "008/None": Ages()}
    assert not problems.errors
