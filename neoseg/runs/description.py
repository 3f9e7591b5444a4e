"""Description of a run's data and software, as plain containers for its record."""

import platform
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neoseg import __version__
from neoseg.cohort import Assignment, Cohort, Plan

PACKAGES = ("torch", "lightning", "monai", "torchio", "hydra-core", "numpy", "scipy", "nibabel")


def describe(annotated: Plan) -> dict[str, Any]:
    """Return scan counts by split and stream, merged label sets by name, and skipped scans.

    Counts per cohort are added if there are several cohorts.
    """
    counts = _counts(annotated.assignments)
    cohorts = {s.cohort.name: _counts(s.assignments) for s in annotated.sources}
    space = annotated.codebook.space
    merged = annotated.codebook.sets[space.num_leaves + 1 :]
    set_names = [
        "{" + ", ".join(space.leaves[k].abbreviation for k in sorted(s)) + "}" for s in merged
    ]
    per_cohort = {"cohorts": cohorts} if len(cohorts) > 1 else {}
    skipped = [row for source in annotated.sources for row in _skipped(source.cohort)]
    return {"scans": counts, **per_cohort, "merged_label_sets": set_names, "skipped": skipped}


def _skipped(cohort: Cohort) -> list[dict[str, str]]:
    """Return the scans that were skipped because of errors, and the errors."""
    return [
        {"cohort": cohort.name, "scan": scan, "kind": problem.kind, "why": str(problem)}
        for problem in cohort.problems
        for scan in problem.scans
    ]


def _counts(assignments: Iterable[Assignment]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(Counter)
    for item in assignments:
        counts[item.split][item.stream] += 1
    return counts


def versions() -> dict[str, str]:
    """Return the versions of Python, neoseg and the packages that affect results."""
    installed = {"python": platform.python_version(), "neoseg": __version__}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "absent"
    return installed


def git_state() -> dict[str, str | bool] | None:
    """Return the commit and whether tracked files are modified; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": changed}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()
