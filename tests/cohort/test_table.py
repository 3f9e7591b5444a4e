"""Tables are read as they stand, or what is odd about them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.cohort.ages import parse_age
from neoseg.cohort.meaning import resolve
from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems
from neoseg.labels import LabelSpace


def read(path: Path, content: str | bytes) -> tuple[list[dict[str, str]], str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = Problems()
    rows = read_rows(path, ["a"], problems)
    return rows, " ".join(map(str, problems.errors))


@pytest.mark.parametrize(
    "content",
    [
        *(
            "a\tb\n1\t2\n",
            "A \t b\r\n 1 \t2\r\n",
            "\ufeffa\tb\n1\t2",
            "a\tb\r1\t2\r",
            "b\ta\n2\t1\n",
        ),
        *("a\tb\n\n\t\n1\t2\n", '"a"\tb\n"1"\t2\n', "a\tb\n1\t2\t\t\n"),
    ],
)
def test_what_editors_do_is_read(tmp_path: Path, content: str) -> None:
    rows, errors = read(tmp_path / "x.tsv", content)
    assert not errors
    assert [(row["a"], row["b"]) for row in rows] == [("1", "2")]


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.CSV", "x.txt"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_other_signs_part_columns_where_they_give_those_that_are_needed(
    tmp_path: Path, name: str, sign: str
) -> None:
    rows, errors = read(tmp_path / name, f'"A"{sign}b\r\n1{sign}"2;,\t3"\r\n')
    assert not errors
    assert rows == [{"a": "1", "b": "2;,\t3"}]


def test_lost_cells_are_empty_and_breaks_within_quotes_stay(tmp_path: Path) -> None:
    assert read(tmp_path / "x.tsv", "a\tb\n1\n")[0] == [{"a": "1", "b": ""}]
    assert read(tmp_path / "x.tsv", 'a\tb\n1\t"2\n3"\n')[0] == [{"a": "1", "b": "2\n3"}]
    assert read(tmp_path / "x.tsv", "a\tb\n1\u2028\t2\n")[0] == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has the columns none"),
        ("b\n1\n", "add a"),
        ("a|b\n1|2\n", r"columns are parted by '\t'"),
        ("a\tA\n1\t2\n", "rename or remove the second a"),
        ("a\tb\n1\t2\t3\n", "more cells than columns in row 2"),
        ('a\tb\n"1\t2\n3\t4\n', "paired quotation marks"),
        ("a\tb\n" + "x" * 200_000 + "\t1\n", "cannot be read"),
        ("a\tb\n1\té\n".encode("latin-1"), "UTF-8"),
        ("a\tb\n1\t2\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path: Path, content: str | bytes, words: str) -> None:
    rows, errors = read(tmp_path / "x.tsv", content)
    assert rows == []
    assert words in errors
    assert str(tmp_path / "x.tsv") in errors


@pytest.mark.parametrize("text", ["4_0", "٤٠", "0x28", "40,5", "40 w", "1e999", "-40", "inf", "14"])
def test_ages_are_plain_numbers(text: str) -> None:
    problems = Problems()
    assert parse_age(text, "row", problems) is None
    assert len(problems.warnings) == 1


@pytest.mark.parametrize(
    "mapping",
    [{"4_0": "L"}, {"٧": "L"}, {1.5: "L"}, {"x": "L"}, {"7": "L", "07": "R"}, {7: 11, "7": 12}],
)
def test_label_values_are_plain_whole_numbers_given_once(
    space: LabelSpace, mapping: dict[object, str]
) -> None:
    problems = Problems()
    assert resolve(space, mapping, "here", problems) is None
    assert "the whole numbers of the label files, each once" in str(problems.errors[0])
