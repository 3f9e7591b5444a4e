"""What a message says to type does in a shell what it means."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from neoseg.configuration.path_values import with_quoted_paths
from neoseg.findings.command_line import command, override
from neoseg.labels import Convention, LabelSpace

PACKAGE = Path(__file__).resolve().parents[2] / "neoseg"
NAMES = (
    "a b",
    "x[1]",
    "T2w (new)",
    "Müller",
    "it's",
    "a#b;c&d",
    "$HOME",
    "~a",
    "a=b",
    "{a,b}",
    "!x",
)
SHELLS = [name for name in ("bash", "zsh") if shutil.which(name)]


def typed(shell: str, line: str) -> list[str]:
    """Return the words that a shell makes of a line."""
    words = subprocess.run(
        [shell, "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    )
    return words.stdout.split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_command_names_the_folder_that_it_means(shell: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    words = typed(shell, command("train", override("resume", folder)))
    assert words[:3] == ["python", "-m", "neoseg.train"]
    (line,) = with_quoted_paths(words[3:])
    assert OverridesParser.create().parse_override(line).value() == str(folder)


def test_a_convention_is_written_as_it_is_read(space: LabelSpace) -> None:
    known = Convention.from_mapping(space, {1: "L", 2: "R", 3: "LR", 4: None})
    (line,) = typed("bash", override("cohort.convention", known.written({7: "null"})))
    value = OverridesParser.create().parse_override(line).value()
    assert list(value) == [1, 2, 3, 4, 7]
    again = Convention.from_mapping(space, value)
    assert [again.name(code) for code in range(4)] == [known.name(code) for code in range(4)]


def test_no_message_quotes_by_hand() -> None:
    by_hand = re.compile(r"""'[a-z_.]+=\{[^{]|neoseg\.[a-z]+ [a-z_.]+=[{%]""")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if by_hand.search(line)
    ]
    assert not found
