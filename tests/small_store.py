"""A store of a small cohort, and a file cut short."""

from __future__ import annotations

from pathlib import Path

from neoseg.store.settings import PrepareSettings
from neoseg.store.store import Store


def store_at(root: Path, **settings: object) -> Store:
    return Store(root / "store", PrepareSettings(locations=40, **settings))  # type: ignore[arg-type]


def contents(root: Path) -> list[str]:
    """Everything in the store but its locks."""
    folder = root / "store" / "small"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])
