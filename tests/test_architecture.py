"""Imports point one way, files stay about one thing, every config group entry is reachable."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "neoseg"
ORDER = (
    *("errors", "borrowed", "imports", "files", "locks", "digests", "foreign", "c_code"),
    *("capacity", "processes", "buildable", "own_code", "accelerator", "failure"),
    *("findings", "labels", "cohort", "store", "augment", "patches", "doctor", "networks"),
    *("losses", "inference", "labelling", "handover", "tracking", "training"),
    *("evaluation", "trust", "audit"),
)
"""Each may import those before it; the commands and what they share may import all."""


def imported(path: Path) -> set[str]:
    """Return the parts of neoseg that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        found |= {n.split(".")[1] for n in names if n.startswith("neoseg.")}
    return found


@pytest.mark.parametrize("part", ORDER[1:])
def test_imports_point_one_way(part: str) -> None:
    allowed = set(ORDER[: ORDER.index(part) + 1])
    for path in [*(PACKAGE / part).rglob("*.py"), *PACKAGE.glob(f"{part}.py")]:
        # What `python -m neoseg.ROOM` starts is a command, which may begin as all of them do.
        own = allowed | ({"commands"} if path.name == "__main__.py" else set())
        assert imported(path) <= own, path.relative_to(ROOT)


def test_losses_know_only_label_sets() -> None:
    for path in (PACKAGE / "losses").rglob("*.py"):
        assert imported(path) <= {"c_code", "errors", "findings", "labels", "losses"}, (
            path.relative_to(ROOT)
        )


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in PACKAGE.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 260
    }
    assert not long


def test_every_config_is_yaml_with_a_mapping() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
