from __future__ import annotations

import json
from pathlib import Path

import pytest
from cohort_trees import add_scan, add_table

from neoseg.cohort.ages import Ages, parse_age
from neoseg.cohort.folders import find_sessions
from neoseg.cohort.participants import read_ages
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


@pytest.mark.parametrize("text", ["14.9", "60.1", "280", "-3", "thirty", "inf", "38,5", "28+7"])
def test_impossible_ages_are_warned_of(text: str) -> None:
    problems = Problems()
    assert parse_age(text, "participants.tsv row 4", problems) is None
    (told,) = problems.warnings
    assert told.where == "participants.tsv row 4"
    assert ("weeks with a point, 38.5" in str(told)) == ("," in text)
    assert ("40 if these are days" in str(told)) == (text == "280")


@pytest.mark.parametrize(
    ("text", "weeks"),
    [
        *(("28+3", "28.43"), ("28 + 3", "28.43"), ("28+3/7", "28.43"), ("28w3d", "28.43")),
        *(("28W3", "28.43"), ("28 weeks 3 days", "28.43"), ("24+0", "24"), ("31 wks 6d", "31.86")),
    ],
)
def test_weeks_and_days_are_told_in_weeks(text: str, weeks: str) -> None:
    problems = Problems()
    assert parse_age(text, "row", problems) is None
    (told,) = problems.warnings
    assert told.expected == f"weeks with a point, {weeks}"
    assert parse_age(weeks, "row", problems) == float(weeks)
    assert parse_age(text, "row", in_days := Problems(), 1 / 7) is None
    assert "with a point" not in str(in_days.warnings[0])


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
    # One age of a subject is not that of each of its sessions.
    assert ages_of(tmp_path, problems) == {"A/1": Ages(30, 33), "A/2": Ages(30, None)}
    (warning, _) = map(str, problems.warnings)
    assert (
        "sub-A_ses-2: has no age of its own, and the subject, with 2 sessions, has one" in warning
    )


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


@pytest.mark.parametrize(
    ("columns", "units", "ages"),
    [
        ("scan_age", None, [30.0, 41.0]),
        ("scan_age", "weeks", [30.0, 41.0]),
        ("age", "weeks of post-menstrual age", [30.0, 41.0]),
        ("age", None, [None, None]),
        ("age", "years", [None, None]),
        ("scan_age", "months", [None, None]),
        ("scan_age", "days", [210 / 7, None]),
        ("age", "weeks of chronological age", [None, None]),
        ("scan_age", "weeks after birth", [None, None]),
        ("age", "weeks of gestation at birth", [None, None]),
        ("age", "weeks (corrected gestational age)", [30.0, 41.0]),
        ("scan_age", "gestational weeks", [30.0, 41.0]),
        ("scan_age", "completed weeks of gestation", [30.0, 41.0]),
        ("age", "PMA (weeks)", [30.0, 41.0]),
        ("scan_age", "GA days", [210 / 7, None]),
        ("scan_age", "months (not weeks)", [None, None]),
        ("scan_age", "gestational weeks and days", [None, None]),
        ("scan_age", "corrected weeks", [None, None]),
        ("scan_age", "postpartum weeks", [None, None]),
        ("scan_age", "trimester", [None, None]),
    ],
)
def test_an_age_counts_in_the_unit_that_it_has(
    columns: str, units: str | None, ages: list[float | None], tmp_path: Path
) -> None:
    rows = ("A 210", "B 41") if units in ("days", "GA days") else ("A 30", "B 41")
    for subject in "AB":
        add_scan(tmp_path, subject, None, ["T2w"])
    add_table(tmp_path / "participants.tsv", f"participant_id {columns}", *rows)
    if units is not None:
        (tmp_path / "participants.json").write_text(json.dumps({columns: {"Units": units}}))
    problems = Problems()
    assert [found.scan for found in ages_of(tmp_path, problems).values()] == ages
    assert bool(problems.warnings) is (None in ages)
    assert ("call the column scan_age" in str(problems.warnings)) is (
        columns == "age" and units in (None, "years")
    )


@pytest.mark.parametrize("column", ["scan_age", "age"])
@pytest.mark.parametrize(
    ("numbers", "days"),
    [
        (("168", "199", "220"), True),
        (("287",), True),
        (("185.5", "n/a", "0", "331", "140"), True),
        (("24", "28", "31", "196"), False),
        (("24", "30", "168", "220"), False),
    ],
)
def test_numbers_that_may_be_days_need_a_unit(
    numbers: tuple[str, ...], days: bool, column: str, tmp_path: Path
) -> None:
    for subject in range(len(numbers)):
        add_scan(tmp_path, str(subject), None, ["T2w"])
    rows = (f"{subject} {age}" for subject, age in enumerate(numbers))
    add_table(tmp_path / "participants.tsv", f"participant_id {column}", *rows)
    problems = Problems()
    ages = [age.scan for age in ages_of(tmp_path, problems).values()]
    told = " ".join(map(str, problems.warnings))
    assert ("which may be days (168 days are 24 weeks)" in told) is days
    assert "which may be years" not in told
    if not days:
        assert column == "age" or ages == [w if (w := float(n)) < 60 else None for n in numbers]
        return
    assert set(ages) == {None}
    assert '"Units": "weeks"' not in told
    remedy = told.partition("if they are days, write ")[2].partition(" into participants.json")[0]
    (tmp_path / "participants.json").write_text(remedy)
    expected = [None if text in ("n/a", "0") else float(text) / 7 for text in numbers]
    ages = [age.scan for age in ages_of(tmp_path, Problems()).values()]
    assert ages == [pytest.approx(age) if age else None for age in expected]


@pytest.mark.parametrize(
    ("numbers", "years"),
    [
        ((28, 35, 41.5, 52, 59.5), True),
        ((28, 35, 41, 78, 66), True),
        ((30, 32, 38, 41, 44, 40, 39, 55), False),  # a slip of the pen
        ((38, 41, 40, 51, 53, 52), False),  # and again at three months
        ((20, 25, 30, 38, 44), False),
    ],
)
@pytest.mark.parametrize("unit", [None, "weeks"])
def test_numbers_that_may_be_years_need_a_unit(
    numbers: tuple[float, ...], years: bool, unit: str | None, tmp_path: Path
) -> None:
    for subject in range(len(numbers)):
        add_scan(tmp_path, str(subject), None, ["T2w"])
    rows = (f"{subject} {age}" for subject, age in enumerate(numbers))
    add_table(tmp_path / "participants.tsv", "participant_id scan_age", *rows)
    if unit is not None:
        (tmp_path / "participants.json").write_text(json.dumps({"scan_age": {"Units": unit}}))
    problems = Problems()
    found = [age.scan for age in ages_of(tmp_path, problems).values()]
    if years and unit is None:
        assert set(found) == {None}
        assert any("which may be years" in str(problem) for problem in problems.warnings)
    else:
        assert found == [float(age) if age <= 60 else None for age in numbers]


@pytest.mark.parametrize(
    ("description", "known"),
    [
        ("Postnatal age at scan", False),
        ("weeks of life", False),
        ("Post-menstrual age: gestational age at birth and postnatal age", True),
        ("Age at scan", True),
        ("Age at birth", False),
        ("PCA at the postnatal scan, corrected for prematurity", True),
        ("weeks since LMP (not since birth)", True),
        ("Chronological age (not gestational age)", False),
        ("Age from birth, not corrected for gestation", False),
        ("Corrected age (chronological age minus weeks to 40 weeks of gestation)", False),
        ("age after delivery", False),
        ("PNA", False),
        ("Weeks since the first day of the mother's last menstrual period", True),
        ("gestational age at the scan by maternal LMP or ultrasound", True),
        ("gestational age at birth + weeks since birth", True),
        ("GA at birth plus weeks after birth", True),
        ("birth GA + PNA", True),
        ("Postconceptual age", True),
        ("Post-menstrual age at scan; for gestational age at birth see birth_age", True),
        ("post-menstrual age, that is gestational age at birth plus chronological age", True),
    ],
)
def test_an_age_that_is_described_as_from_birth_is_not_used(
    description: str, known: bool, tmp_path: Path
) -> None:
    add_scan(tmp_path, "A", None, ["T2w"])
    add_table(tmp_path / "participants.tsv", "participant_id scan_age", "A 40")
    entry = {"scan_age": {"Description": description, "Units": "weeks"}}
    (tmp_path / "participants.json").write_text(json.dumps(entry))
    problems = Problems()
    assert ages_of(tmp_path, problems) == {"A/None": Ages(None, 40 if known else None)}
    told = "is the age at birth" if description == "Age at birth" else "counts from birth"
    assert (f"{told} by participants.json" in str(problems.warnings)) is not known


@pytest.mark.parametrize("description", ["PMA at birth", "Age of the mother"])
def test_an_age_of_another_time_or_person_is_not_used(description: str, tmp_path: Path) -> None:
    add_scan(tmp_path, "A", None, ["T2w"])
    add_table(tmp_path / "participants.tsv", "participant_id age", "A 40")
    entry = {"age": {"Description": description, "Units": "wks"}}
    (tmp_path / "participants.json").write_text(json.dumps(entry))
    problems = Problems()
    assert ages_of(tmp_path, problems) == {"A/None": Ages()}
    assert "by participants.json" in str(problems.warnings)


def test_what_the_warning_of_a_unit_says_settles_it(tmp_path: Path) -> None:
    add_scan(tmp_path, "A", None, ["T2w"])
    add_table(tmp_path / "participants.tsv", "participant_id age", "A 30")
    problems = Problems()
    ages_of(tmp_path, problems)
    (remedy,) = [str(w) for w in problems.warnings if "column age" in str(w)]
    text = remedy.partition("or write ")[2].partition(" into ")[0]
    (tmp_path / "participants.json").write_text(text)
    assert ages_of(tmp_path, Problems()) == {"A/None": Ages(None, 30)}


@pytest.mark.parametrize(
    "place", ["sub-A/sub-A_sessions", "sub-A/sessions", "sessions", "../sessions"]
)
def test_the_nearest_sidecar_of_a_column_counts(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "derivatives"
    add_scan(folder, "A", "1", ["T2w"])
    add_table(folder / "participants.tsv", "participant_id birth_age", "A 203")
    add_table(folder / "sub-A/sub-A_sessions.tsv", "session_id scan_age", "1 210")
    further = {"scan_age": {"Units": "months"}, "session_id": {"Units": "none"}}
    (tmp_path / "sessions.json").write_text(json.dumps(further))
    (tmp_path / "participants.json").write_text(json.dumps({"Birth_Age": {"Units": "days"}}))
    (folder / "sub-A/sessions.json").write_text(json.dumps({"session_id": {"Units": "none"}}))
    (folder / f"{place}.json").write_text(json.dumps({"Scan_age": {"Units": "days"}}))
    problems = Problems()
    sessions = find_sessions(folder, lambda _: True, problems)
    found = read_ages([folder, tmp_path], sessions, lambda _: True, problems)
    assert found == {("A", "1"): Ages(29, 30)}
    assert not problems.warnings


def test_a_sidecar_of_all_sessions_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    for subject in "AB":
        add_scan(tmp_path, subject, "1", ["T2w"])
        add_table(
            tmp_path / f"sub-{subject}/sub-{subject}_sessions.tsv", "session_id scan_age", "1 30"
        )
    (tmp_path / "sessions.json").write_text("{")
    problems = Problems()
    assert ages_of(tmp_path, problems) == dict.fromkeys(["A/1", "B/1"], Ages(None, 30))
    assert [w.where for w in problems.warnings if w.kind == "bad-table"] == [
        str(tmp_path / "sessions.json")
    ]


@pytest.mark.parametrize(
    ("sessions", "doubtful"),
    [
        ({"18mo": "18", "24mo": "24.2"}, True),
        ({"6m": "6", "024M": "24"}, True),
        ({"20y": "19.8", "scan": "21"}, True),
        ({"1mo": "44.3", "40m": "40", "3months": "53"}, False),
        ({"40w": "40", "30": "30"}, False),
    ],
)
@pytest.mark.parametrize("by", ["session", "subject", "sidecar"])
def test_numbers_of_sessions_that_have_them_in_their_names_may_be_months_or_years(
    sessions: dict[str, str], doubtful: bool, by: str, tmp_path: Path
) -> None:
    """Also where the table has a row a subject, each with one session."""
    people = [("A" if by == "session" else f"P{n}", name) for n, name in enumerate(sessions)]
    for subject, name in people:
        add_scan(tmp_path, subject, name, ["T2w"])
    column = " session_id" if by == "session" else ""
    rows = [f"{subject} {name if column else ''} {sessions[name]}" for subject, name in people]
    add_table(tmp_path / "participants.tsv", f"participant_id{column} scan_age", *rows)
    if by == "sidecar":
        (tmp_path / "participants.json").write_text(json.dumps({"scan_age": {"Units": "weeks"}}))
    problems = Problems()
    found = {ages.scan for ages in ages_of(tmp_path, problems).values()}
    told = [str(w) for w in problems.warnings if "which may be months or years" in str(w)]
    if doubtful and by != "sidecar":
        assert found == {None}
        assert len(told) == 1
        assert 'write {"scan_age": {"Units": "weeks"}} into participants.json' in told[0]
    else:
        numbers = map(float, sessions.values())
        assert found == {age if age >= 15 else None for age in numbers}
        assert not told


@pytest.mark.parametrize(
    ("rows", "said", "known"),
    [
        (["39 31"], "", []),
        (["39 31", "39.4 28.3"], "", [0, 1]),
        (["39 31", "30 41", "n/a 29", "37 24"], "", [0, 1, 2, 3]),
        (["39 31", "30 41", "38 41", "37 24", "39 40"], "", [1, 2, 4]),
        (["43.5 31", "41 28", "44 36"], "", []),  # newborns, exchanged
        (["40.4 39", "41 40", "40.6 38", "39 36"], "", []),  # and born at term
        (["39 31", "30 41", "38 41"], "Age at the fetal scan", [0, 1, 2]),
        (["39 31", "30 41", "38 41"], "Age at the fetal or neonatal scan", [1, 2]),
        (["39 31", "30 41", "38 41"], "session", [0, 1, 2]),
    ],
)
def test_scans_before_birth_are_questioned_unless_most_seem_fetal(
    rows: list[str], said: str, known: list[int], tmp_path: Path
) -> None:
    columns = "participant_id birth_age scan_age"
    for subject in range(len(rows)):
        add_scan(tmp_path, str(subject), "fetal1" if said == "session" else None, ["T2w"])
    lines = [f"{subject} {row}" for subject, row in enumerate(rows)]
    add_table(tmp_path / "participants.tsv", columns, *lines)
    (tmp_path / "participants.json").write_text(json.dumps({"scan_age": {"Description": said}}))
    problems = Problems()
    ages = [age.scan for age in ages_of(tmp_path, problems).values()]
    numbers = [float(row.split()[1]) for row in rows]
    assert ages == [age if n in known else None for n, age in enumerate(numbers)]
    told = [str(warning) for warning in problems.warnings if warning.kind == "impossible-age"]
    early = [row for row in rows if "n/a" not in row and float(row[:2]) > float(row.split()[1])]
    if said and known == [*range(len(rows))]:
        assert not told
    elif 0 in known:
        (warning,) = told
        assert f"is before birth_age in {len(early)} of {len(rows)} scans: sub-0" in warning
        assert "exchange the two columns" in warning
    else:
        assert len(told) == len(early) == len(rows) - len(known)
        assert all(
            "or, if it is a scan of a fetus, leave out its birth_age (n/a)" in t for t in told
        )


def test_rows_of_scans_elsewhere_show_that_a_cohort_is_fetal(tmp_path: Path) -> None:
    add_scan(tmp_path, "A", None, ["T2w"])
    columns = "participant_id birth_age scan_age"
    add_table(tmp_path / "participants.tsv", columns, "A 39 31", "B 38 30")
    assert ages_of(tmp_path, Problems()) == {"A/None": Ages(39, 31)}
    add_table(tmp_path / "participants.tsv", columns, "A 39 31", "B n/a 30")
    assert ages_of(tmp_path, Problems()) == {"A/None": Ages(39)}
    add_table(tmp_path / "participants.tsv", columns, "A n/a 31", "B n/a 30")
    assert ages_of(tmp_path, Problems()) == {"A/None": Ages(None, 31)}


@pytest.mark.parametrize(
    "column",
    [
        *("Gestational age", "gestational_age", "GA", "ga_at_mri", "GA at scan", "GA (weeks)"),
        *("gestational_weeks", "PMA", "post-menstrual age", "ga at birth", "Gestational diabetes"),
    ],
)
@pytest.mark.parametrize(
    ("description", "used"),
    [
        (None, False),
        ("Gestational age in weeks", False),
        ("by first-trimester ultrasound scan", False),
        ("GA at delivery; see the sessions for that at the scan", False),
        ("Gestational age at scan", True),
        ("age at the time of the fetal MRI", True),
    ],
)
@pytest.mark.parametrize("also", ["", "age"])
def test_a_gestational_age_is_used_only_if_it_is_said_to_be_at_the_scan(
    column: str, description: str | None, used: bool, also: str, tmp_path: Path
) -> None:
    add_scan(tmp_path, "A", None, ["T2w"])
    header, row = f"participant_id\t{column}", "A\t24.1"
    if also:
        header, row = f"{header}\tage", f"{row}\t31"
    (tmp_path / "participants.tsv").write_text(f"{header}\n{row}\n")
    if description is not None:
        entry = {column: {"Description": description}}
        (tmp_path / "participants.json").write_text(json.dumps(entry))
    problems = Problems()
    is_age = column not in ("ga at birth", "Gestational diabetes")
    used = used and is_age
    assert ages_of(tmp_path, problems)["A/None"].scan == (24.1 if used else None)
    told = " ".join(str(problem) for problem in problems.warnings if problem.where == "scan_age")
    may_be = f"the column {column.casefold()!r} may be the age at birth or at the scan"
    asked = is_age and not used and "delivery" not in (description or "")
    assert (may_be in told) is asked
    assert ("if it is the age at the scan, call it scan_age" in told) is asked
    if asked:
        remedy = told.partition(", or write ")[2].partition(" into participants.json")[0]
        (tmp_path / "participants.json").write_text(remedy)
        assert ages_of(tmp_path, Problems()) == {"A/None": Ages(None, 24.1)}


def test_a_gestational_age_beside_the_age_at_the_scan_is_let_be(tmp_path: Path) -> None:
    for subject in "AB":
        add_scan(tmp_path, subject, None, ["T2w"])
    add_table(tmp_path / "participants.tsv", "participant_id ga scan_age", "A 25 30", "B 26 n/a")
    (tmp_path / "participants.json").write_text('{"GA": {"Description": "at scan"}}')
    problems = Problems()
    assert ages_of(tmp_path, problems) == {"A/None": Ages(None, 30), "B/None": Ages()}
    (warning,) = problems.warnings
    assert "the column" not in str(warning)


@pytest.mark.parametrize("column", ["session", "session_id"])
def test_a_row_per_session(column: str, tmp_path: Path) -> None:
    for session in "12":
        add_scan(tmp_path, "A", session, ["T2w"])
    add_table(
        tmp_path / "participants.tsv", f"participant_id {column} scan_age", "A 1 30.1", "A ses-2 41"
    )
    problems = Problems()
    assert ages_of(tmp_path, problems) == {"A/1": Ages(None, 30.1), "A/2": Ages(None, 41)}
    assert not problems.errors
