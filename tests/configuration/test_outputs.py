"""Where a command writes is looked at before it begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neoseg.configuration.outputs import OutputFile, OutputFolder
from neoseg.findings.settings import ConfigError, Section


class Wanted(Section):
    folder: OutputFolder | None = None
    file: OutputFile | None = None


def test_what_is_there_or_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.csv").touch()
    for place in (tmp_path / "there", tmp_path / "new" / "below"):
        assert Wanted.read({"folder": str(place)}).folder == place
    for place in (tmp_path / "a.csv", tmp_path / "new" / "b.csv"):
        assert Wanted.read({"file": str(place)}).file == place


def test_what_cannot_be_written_is_told_with_its_key(tmp_path: Path) -> None:
    file, run = tmp_path / "a.csv", tmp_path / "run"
    file.touch()
    run.mkdir()
    (run / "config.yaml").touch()
    assert Wanted.read({"folder": str(run)}).folder == run
    (run / "split.csv").touch()
    for key, place, told in (
        ("folder", file, f"folder = '{file}': is a file, expected a folder"),
        ("folder", file / "x", f"{file} is a file, expected a folder"),
        ("folder", run, f"is the folder of a run, .* such as {run / 'output'}"),
        ("file", tmp_path, f"file = '{tmp_path}': is a folder, expected a file"),
        ("file", file / "x", f"file = '{file}/x': is a file, expected a folder"),
    ):
        with pytest.raises(ConfigError, match=told):
            Wanted.read({key: str(place)})


def test_a_file_is_replaced_whatever_its_own_mode(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch(mode=0o444)
    assert Wanted.read({"file": str(tmp_path / "a.csv")}).file == tmp_path / "a.csv"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=f"{tmp_path} may not be written to"):
        Wanted.read({"folder": str(tmp_path / "new")})
