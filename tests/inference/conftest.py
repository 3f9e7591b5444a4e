"""A small label space with a left-right pair, a super-class, and one leaf outside it."""

from __future__ import annotations

import pytest

from neoseg.labels import Codebook, LabelSpace, LabelTable, Protocol


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
