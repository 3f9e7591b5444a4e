"""The pages, and the commands that they show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
STARTS = re.compile(r"^(?:python -m neoseg\.|neoseg )(\w+)(.*)$")

ELSEWHERE = {
    "cluster=slurm": "tests/cluster, on a SLURM of its own",
    "nnUNet_results": "tests/training/test_nnunet_weights.py, with a file made for it",
    "nnssl": "tests/training/test_nnunet_residual_weights.py, with a file made for it",
    "--help": "tests/commands/test_command.py",
}
"""What needs more than a few voxels, and where it is tried."""


def said(page: Path) -> list[str]:
    """The commands of a page, each with what the lines below it continue."""
    found = []
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in ("python", "bibtex", "yaml"):
            lines = re.sub(r"\\\n\s*", "", text).splitlines()
            found += [line.strip() for line in lines if STARTS.match(line.strip())]
    return found


def fenced(page: str, language: str) -> list[str]:
    """What stands in a page below `docs` between fences of a language."""
    found = FENCE.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    return [text for own, text in found if own == language]
