"""Fixtures that several folders of tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.labels import LabelSpace, LabelTable

ROOT = Path(__file__).resolve().parents[1]


def label_space(name: str) -> LabelSpace:
    """Read `conf/labels/<name>.yaml`."""
    return LabelSpace.from_table(LabelTable.read(ROOT / "conf" / "labels" / f"{name}.yaml"))


@pytest.fixture(scope="session")
def drawem9() -> LabelSpace:
    """The 9 tissues and TCV."""
    return label_space("drawem9")


@pytest.fixture(scope="session")
def drawem87() -> LabelSpace:
    """The 87 structures with tissues, hemispheres and lobes."""
    return label_space("drawem87")


@pytest.fixture(scope="session")
def fidon8() -> LabelSpace:
    """The 8 structures of the fetal atlas."""
    return label_space("fidon8")


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of the real fetal scans, where they are at hand."""
    folder = ROOT.parent / "shared" / "data" / "fetal_spina_bifida"
    if not folder.is_dir():
        pytest.skip(f"the fetal spina bifida atlas is not at {folder}")
    return folder
