"""Tables that stay tables whatever their cells hold."""

from __future__ import annotations

import pandas as pd
import pytest

from neoseg.findings.markup import figure_text, latex, latex_text, markdown, markdown_text


def test_markdown_escapes_bars() -> None:
    text = markdown(pd.DataFrame({"a": ["x|y"], "b": ["1"]}))
    assert text.splitlines() == ["| a | b |", "| --- | ---: |", "| x\\|y | 1 |"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain_name, 5 %", "plain_name, 5 %"),
        ("_emphasis_", "\\_emphasis\\_"),
        ("a\nb\t c", "a b c"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("[a](b)", "\\[a\\](b)"),
        ("`code` *b*", "\\`code\\` \\*b\\*"),
        ("a & b &lt;", "a &amp; b &amp;lt;"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_markdown_text(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


def test_two_levels_are_joined_in_markdown() -> None:
    columns = pd.MultiIndex.from_tuples([("", "scans"), ("5 %", "iuc")])
    text = markdown(pd.DataFrame([["term", "0.9"]], columns=columns))
    assert text.splitlines()[0] == "| scans | iuc, 5 % |"


def test_latex_is_escaped() -> None:
    text = latex(pd.DataFrame({"class": ["L_R†"], "a, 5 %": ["0.1 ± 0.2*"]}), "Dice & more")
    assert r"L\_R$\dagger$ & 0.1 $\pm$ 0.2$^{*}$ \\" in text
    assert r"class & a, 5 \% \\" in text
    assert r"\caption{Dice \& more}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert latex_text("a\\b{c}~^#$") == (
        r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}\#\$"
    )


def test_latex_head_of_two_lines_spans_its_columns() -> None:
    columns = pd.MultiIndex.from_tuples(
        [("", "scans"), ("", "class"), ("5 %", "a"), ("5 %", "b"), ("100 %", "c")]
    )
    rows = [["term", "GM", 1, 2, 3], ["", "WM", 1, 2, 3], ["all", "GM", 1, 2, 3]]
    text = latex(pd.DataFrame(rows, columns=columns), "x")
    assert r" &  & \multicolumn{2}{c}{5 \%} & \multicolumn{1}{c}{100 \%} \\" in text
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-5}" in text
    assert r"scans & class & a & b & c \\" in text
    # One rule below the head, one before the block that starts with "all".
    assert text.count(r"\midrule") == 2
    assert text.index(r"\midrule", text.index("WM")) < text.index("all & GM")


def test_long_tables_may_break_over_pages() -> None:
    text = latex(pd.DataFrame({"a": range(60)}), "long")
    assert r"\begin{longtable}{l}" in text
    assert r"\endhead" in text
    assert r"\begin{table}" not in text


def test_letters_in_pictures_are_escaped_and_spaces_stay() -> None:
    assert figure_text("abdomen, 15.4\N{NO-BREAK SPACE}%") == "abdomen, 15.4 %"
    assert figure_text("a$b\x1b\N{RIGHT-TO-LEFT OVERRIDE}") == r"a\$b\x1b\u202e"
