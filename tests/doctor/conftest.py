"""Let the tests of this folder import the broken cohorts that the table of messages is made of."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "reliability"))
