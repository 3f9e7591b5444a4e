"""Paths are typed as they are, brackets, equals signs, spaces and all."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.data import _OWN_KEY
from neoseg.configuration.overrides import explain_arguments
from neoseg.configuration.path_values import is_path, with_quoted_paths
from neoseg.findings.settings import ConfigError

NAMES = [
    "a=b",
    "a(1)",
    "a[1]",
    "Müller",
    "a#b",
    "loss-[iuc,known_dice]",
    "T2 (new)",
    "a;b",
    'a"b',
    "~x",
]


OTHERS = {"sweep", "pictures", "overwrite", "paths", "names"}
"""Keys that speak of files or folders and name none."""


def test_every_key_that_names_a_file_or_folder_takes_paths() -> None:
    lines = [line for path in CONFIG_DIR.glob("*.yaml") for line in path.read_text().splitlines()]
    told = [re.match(r"(\w+): .*# .*\b(?:file|folder)s?\b", line) for line in lines]
    keys = {match[1] for match in told if match} - OTHERS
    keys |= {"model", "cohort.root", "split.file", "annotation.file", "extra_cohorts.b.cohort.root"}
    assert {"init_from", "pool", "curves", "run"} <= keys
    assert {key for key in keys if not is_path(key)} == set()


def root_of(arguments: list[str]) -> object:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("prepare", ["cohort=bids", *arguments]).cohort.root


@pytest.mark.parametrize("name", NAMES)
def test_a_path_of_something_there_is_taken_as_it_stands(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    arguments = with_quoted_paths([f"cohort.root={folder}"])
    assert root_of(arguments) == str(folder)
    assert with_quoted_paths(arguments) == arguments  # a process that starts others has them so


@pytest.mark.parametrize("name", NAMES)
def test_what_the_message_says_works_when_pasted(name: str, tmp_path: Path) -> None:
    argument = f"cohort.root={tmp_path / name}"
    told = explain_arguments("prepare", ["cohort=bids", *with_quoted_paths([argument])])
    if told is None:  # Hydra reads it as it is
        assert root_of([argument]) == str(tmp_path / name)
        return
    (pasted,) = shlex.split(told.partition("write ")[2])
    assert root_of([pasted]) == str(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "is_pattern"),
    [
        ("labels/{subject}_seg", True),
        ("{subject}-{session}/{modality}", True),
        ("runs/${seed}", False),
        ("{T1w: t1}", False),
        ("[{a: {b: c}}]", False),
        ('"{subject}"', False),
    ],
)
def test_braces_of_a_pattern_are_text(value: str, is_pattern: bool) -> None:
    (found,) = with_quoted_paths([f"cohort.labels={value}"])
    assert (found != f"cohort.labels={value}") is is_pattern
    if is_pattern:
        assert OverridesParser.create().parse_override(found).value() == value


def test_braces_in_the_name_of_a_folder_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a{b}").mkdir()
    (found,) = with_quoted_paths(["cohort.root=~/a{b}"])
    assert OverridesParser.create().parse_override(found).value() == str(tmp_path / "a{b}")


def test_a_key_that_is_given_twice_is_no_choice() -> None:
    override = "cohort.convention={1:cGM,2:WM,1:dGM}"
    told = explain_arguments("prepare", ["cohort=bids", override])
    assert told == f"'{override}': 1 is given twice, of which the last would count; keep one"


def test_home_is_what_it_is_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    assert with_quoted_paths(["run=~/runs", "output=~/new/below"]) == [
        f'run="{tmp_path}/runs"',
        f"output={tmp_path}/new/below",
    ]
    assert with_quoted_paths(["run=[~/a, ~/b,/c/~/d,~x]"]) == [
        f"run=[{tmp_path}/a,{tmp_path}/b,/c/~/d,~x]"
    ]


def test_a_list_that_does_not_end_is_no_path() -> None:
    told = explain_arguments("train", ["annotation.full=[a,b"])
    assert told is not None
    assert "cannot be read" in told


def test_several_values_without_a_sweep_are_told() -> None:
    told = explain_arguments("train", ["patches.size=32,32,32"])
    assert told is not None
    assert "add -m; one value that is a list is written 'patches.size=[32,32,32]'" in told
    assert explain_arguments("train", ["cluster=local", "seed=1,2"]) is None
    told = explain_arguments("predict", ["run=a,b", "input=x", "output=y"])
    assert told is not None
    assert told.endswith("several values: one value that is a list is written 'run=[a,b]'")
    assert explain_arguments("train", ["-m", "seed=1,2"]) is None


def test_new_folders_lists_and_sweeps(tmp_path: Path) -> None:
    new = tmp_path / "out (1)"
    assert with_quoted_paths([f"output={new}"]) == [f'output="{new}"']
    for argument in (
        "run=[a,b]",
        "split.file=a.csv,b.csv",
        "paths.data=a,b",
        "seed=1",
        "-m",
        "output=",
    ):
        assert with_quoted_paths([argument]) == [argument]


def test_a_folder_that_is_called_like_a_reference_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration of a run would hold it, and mean another folder when it is read."""
    (tmp_path / "${HOME}").mkdir()
    for argument in (f"cohort.root={tmp_path}/${{HOME}}", f"output={tmp_path}/${{HOME}}/new"):
        with pytest.raises(ConfigError, match="rename it, or make a link to it"):
            with_quoted_paths([argument])
    monkeypatch.setenv("OUT", "there")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        made = compose("predict", with_quoted_paths([f"output={tmp_path}/${{oc.env:OUT}}"]))
    assert made.output == f"{tmp_path}/there"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("say with 'cohort.columns={...}'", "say with 'extra_cohorts.b.cohort.columns={...}'"),
        ("put some into split.file=FILE", "put some into extra_cohorts.b.split.file=FILE"),
        ("/data/split.csv: line 3", "/data/split.csv: line 3"),
        ("split.csv, cohort.tsv", "split.csv, cohort.tsv"),
        ("/mnt/my-cohort.d/x", "/mnt/my-cohort.d/x"),
        ("extra_cohorts.a.cohort.root", "extra_cohorts.a.cohort.root"),
    ],
)
def test_keys_in_messages_about_an_extra_cohort(text: str, told: str) -> None:
    assert _OWN_KEY.sub("extra_cohorts.b.", text) == told
