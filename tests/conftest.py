"""Fixtures that several folders of tests use."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neoseg.borrowed import parse_yaml_in_c
from neoseg.labels import Codebook, LabelSpace, LabelTable, Protocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(Path(__file__).parent))  # what several folders of tests import

parse_yaml_in_c()  # as commands do

# Sums depend on the number of threads in their last bits, and commands that tests start have one.
os.environ["OMP_NUM_THREADS"] = "1"

# As in a job that a shell has put into the background, or under nohup: tests send both to what they
# start, and to themselves.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(scope="session", autouse=True)
def unhurried() -> Iterator[None]:
    """Let no file wait for the disk: no test takes the power away, and a tiny run has 100 files.

    Those that look whether the disk is asked put a function of their own in its place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


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


@pytest.fixture
def space() -> LabelSpace:
    """Leaves BG, L, R, CSF; class LR = {L, R}."""
    return LabelSpace.from_table(
        LabelTable.parse(
            {
                "name": "tiny",
                "background": 0,
                "leaves": [
                    {"index": 0, "name": "Clear", "abbreviation": "BG", "color": "#000000"},
                    {"index": 11, "name": "Left part", "abbreviation": "L", "color": "#ff0000"},
                    {"index": 12, "name": "Right part", "abbreviation": "R", "color": "#00ff00"},
                    {"index": 40, "name": "Fluid", "abbreviation": "CSF", "color": "#0000ff"},
                ],
                "classes": [
                    {"abbreviation": "LR", "name": "Both parts", "leaves": ["L", "R"]},
                ],
                "mirror": [[11, 12]],
            }
        )
    )


@pytest.fixture
def codebook(space: LabelSpace) -> Codebook:
    """Single leaves, unknown, and the merged set {L, R}."""
    return Codebook.build(space, Protocol.parse(space, {"name": "m", "merge": ["LR"]}).sets)
