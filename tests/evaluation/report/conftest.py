"""Let the tests of this folder import its `sweep` and `browser`."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from neoseg.files import write_bytes

sys.path.insert(0, str(Path(__file__).parent))

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports whose figures are made, but for painting them, which is half of a report's time."""

    def write(path: Path, figure: Any, **how: Any) -> None:
        write_bytes(path, PIXEL)

    monkeypatch.setattr("neoseg.evaluation.report.write.write_figure", write)
