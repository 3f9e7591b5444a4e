"""Which software made a result."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from neoseg import __version__

PACKAGES = ("torch", "lightning", "monai", "torchio", "hydra-core", "numpy", "scipy", "nibabel")


def versions() -> dict[str, str]:
    """Return the versions of Python, neoseg and the packages that results depend on."""
    found = {"python": platform.python_version(), "neoseg": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def git_state() -> dict[str, str | bool] | None:
    """Return commit and whether files were changed, or None outside a checkout."""
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
