"""Let the tests of this folder import its `cohort_trees` and `cohort_scans`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
