"""Write `messages.md`: what neoseg says about data that is broken in every known way.

python experiments/reliability/messages.py
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from broken_cohorts import EXAMPLES, examine, write_cohort

from neoseg.cohort import Problem
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.files import write_text
from neoseg.findings.kinds import KINDS

TARGET = Path(__file__).with_name("messages.md")

INTRODUCTION = """# What neoseg says about broken data

`python -m neoseg.prepare cohort=... cohort.root=...` lists every problem of a cohort in one pass,
by kind. An *error* keeps the scan (or the cohort, where it names none) from being used and makes
the command end with status 2; with `on_error=skip` the scans with errors are left out, there and in
`python -m neoseg.train`, whose `run.json` and card then name them. A *warning* stops nothing.

Below is one example of each kind, made by breaking a small cohort of three subjects and examining
it; `python experiments/reliability/messages.py` writes this table anew, and a test compares it with
what the code says. The codes stand in `report.json` and stay the same between versions.
"""


def found_in(kind: str, folder: Path) -> Diagnosis:
    """Break a cohort below `folder` and examine it."""
    example = write_cohort(folder / "cohort")
    EXAMPLES[kind](example)
    return examine(example, folder / "store")


def example_of(kind: str, folder: Path) -> Problem:
    """Return the problem of a kind, with paths as if the cohort lay at /data/cohort."""
    problem = next(p for p in found_in(kind, folder).problems if p.kind == kind)

    def plain(text: str) -> str:
        text = text.replace(str(folder.resolve()), "/data").replace(str(folder), "/data")
        text = re.sub(r"(sub-\w+)-[0-9a-f]{16}", r"\1-0123456789abcdef", text)
        # How much a file shrinks depends on the version of the library that packs it.
        return re.sub(r"\d{2,} (bytes|were)", r"N \1", text)

    changes = {key: plain(getattr(problem, key)) for key in ("where", "found", "expected")}
    return replace(problem, **changes)


def table(folder: Path) -> str:
    """Return the file's text; cohorts are written below `folder`."""
    lines = [INTRODUCTION]
    for kind, title in KINDS.items():
        problem = example_of(kind, folder / kind)
        lines += [
            f"## {title}",
            "",
            f"`{kind}`, {problem.severity}" + (" of the scan" if problem.scans else ""),
            "",
            *(f"    {line}" for line in _wrap(str(problem))),
            "",
        ]
    return "\n".join(lines)


def _wrap(text: str, width: int = 92) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("  ")
        lines[-1] += (" " if lines[-1].strip() else "") + word
    return lines


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write_text(TARGET, table(Path(name).resolve()))
