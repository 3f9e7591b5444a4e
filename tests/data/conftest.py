"""Let the tests of this folder import its `small_cohort`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_cohort import small_space

from neoseg.labels import LabelSpace


@pytest.fixture(scope="session")
def space() -> LabelSpace:
    """Leaves BG, CSF, GM_L, GM_R, WM; classes GM and TCV."""
    return small_space()
