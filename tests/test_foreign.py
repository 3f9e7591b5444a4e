"""The configuration of a stranger's run folder is data, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.configuration.resume import resumed
from neoseg.findings.settings import ConfigError
from neoseg.foreign import LARGEST, ForeignError, json_of, read_config, read_json, read_table
from neoseg.foreign.files import MAX_CELLS
from neoseg.foreign.values import read_yaml
from neoseg.runs.loading import load_config

BOMB = "a: &a [1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: ${oc.env:HOME}", "would call a resolver"),
        ("name: a${oc.decode:'1'}", "would call a resolver"),
        ("a: {b: [x, '${oc.env:HOME,}']}", r"a.b\[1\]"),
        ("a: ${b.${oc.env:HOME}}", "would call a resolver"),
        ("${oc.env:HOME}: 1", "would call a resolver"),
        ("a: ${first:x}", "would call a resolver"),
        ("a: !!python/object/apply:os.system [touch mark]", "cannot be read"),
        ("a: !!python/name:os.system", "cannot be read"),
        ("a: !!python/object/new:type [x, [], {}]", "cannot be read"),
        (BOMB, "aliases"),
        ("- 1\n- 2", "holds list"),
        ("", "holds NoneType"),
        ("a: [", "cannot be read"),
        ("[" * 500, "nested too deeply"),
        ("\x00", "cannot be read"),
        ("a: 1\n" * (LARGEST // 4), "bytes, more than"),
    ],
    ids=range(16),
)
def test_what_is_no_run_s_configuration_is_refused(
    tmp_path: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ForeignError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "mark").exists()
    for read in (load_config, lambda run: resumed(run, [])):
        with pytest.raises(ConfigError, match=r"config\.yaml"):
            read(tmp_path)


def test_a_secret_does_not_reach_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_TEST", "s3cr3t")
    (tmp_path / "config.yaml").write_text("name: ${oc.env:TOKEN_OF_TEST}")
    with pytest.raises(ForeignError) as caught:
        read_config(tmp_path / "config.yaml")
    assert "s3cr3t" not in str(caught.value)


def test_values_stay_values(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\nb: ${a}\nc: '__import__(\"os\")'\nd: 'x: y'\n")
    config = read_config(tmp_path / "config.yaml")
    assert config == {"a": 1, "b": 1, "c": '__import__("os")', "d": "x: y"}


@pytest.mark.parametrize("text", ["a: ${b}\nb: ${a}", "a: ${b}", "a: ${b}\nb: {c: 1}"])
def test_references_that_lead_nowhere_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ForeignError, match="refers to"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"labels": {"1": "WM", "2": "cGM", "1": "CSF"}}'),
        ("a.yaml", "labels:\n  1: WM\n  2: cGM\n  1: CSF\n"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """Of two meanings of an integer, the libraries would take the last."""
    (tmp_path / name).write_text(text)
    read = read_json if name.endswith("json") else read_yaml
    with pytest.raises(ForeignError, match=r"a\.\w+ cannot be read: the key '?1'? stands "):
        read(tmp_path / name)


def test_numbers_to_base_60_are_texts(tmp_path: Path) -> None:
    """PyYAML would take minutes for long ones, and overflow for long fractions."""
    path = tmp_path / "config.yaml"
    path.write_text("a: 1" + ":0" * 300 + ".5\nb: 1:30\nc: -1.5\nd: 0x10\n")
    assert read_yaml(path)["b"] == "1:30"
    assert (read_yaml(path)["c"], read_yaml(path)["d"]) == (-1.5, 16)


def test_half_a_character_is_refused() -> None:
    """It could be written into no file."""
    with pytest.raises(ForeignError, match="lone surrogate"):
        json_of('{"device": "GPU \\ud800"}', "run.json")


@pytest.mark.parametrize("text", ["," * MAX_CELLS, "a,b\n" + ",\n" * (MAX_CELLS // 2)])
def test_a_table_of_endless_cells_is_refused_before_it_is_parsed(tmp_path: Path, text: str) -> None:
    """Each cell would cost many times the memory of its comma."""
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ForeignError, match=r"has 16777\d{3} (columns|cells), fewer than"):
        read_table(path, tmp_path)


def test_json_of_endless_values_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(ForeignError, match="too many values"):
        json_of("[" + "{}," * 2**20 + "{}]", "images.json")
