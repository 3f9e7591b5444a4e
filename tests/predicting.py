"""`neoseg.predict` called in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from neoseg.predict import main


def predict(monkeypatch: pytest.MonkeyPatch, *arguments: object, status: int = 0) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["predict", "device=cpu", *map(str, arguments)])
    try:
        main()
        ended = 0
    except SystemExit as stop:
        ended = int(stop.code or 0)
    assert ended == status


def one_scan(tree: Path) -> Path:
    return sorted(tree.rglob("*_desc-restore_T2w.nii.gz"))[0]
