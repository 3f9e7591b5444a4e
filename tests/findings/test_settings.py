"""Messages about wrong keys: what was found, what was expected, and how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import model_validator

from neoseg.findings.settings import ConfigError, Section
from neoseg.store.voxel_size import VoxelSize


class Inner(Section):
    size: tuple[int, int, int] = (1, 1, 1)
    names: tuple[str, ...] = ()
    who: tuple[str | int, ...] | Path | None = None
    spacing: VoxelSize | None = None

    @model_validator(mode="after")
    def _small(self) -> Inner:
        if self.size[0] > 99:
            raise ValueError("the size is too large")
        return self


class Outer(Section):
    patches: Inner


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"size": 32}, "patches.size = 32: expected 3 values; write 'patches.size=[32,32,32]'"),
        ({"size": [8]}, "patches.size = [8]: expected 3 values; write 'patches.size=[8,8,8]'"),
        ({"size": []}, "patches.size = []: expected 3 values; write 'patches.size=[...,...,...]'"),
        (
            {"size": [1, 2, 3, 4]},
            "patches.size = [1, 2, 3, 4]: expected 3 values; write 'patches.size=[1,2,3]'",
        ),
        ({"names": "T1w"}, "patches.names = 'T1w': expected a list; write 'patches.names=[T1w]'"),
        (
            {"who": 5},
            "the configuration has 2 problems:\n"
            "  - patches.who = 5: expected a list; write 'patches.who=[5]'\n"
            "  - patches.who = 5: Input is not a valid path",
        ),
        ({"spacing": [2]}, "patches.spacing = [2]: expected 3 values; write 'patches.spacing=[2"),
        ({"size": [100, 1, 1]}, "patches = {'size': [100, 1, 1]}: the size is too large"),
        ({"size": [100, 1, 1], "names": ["T2w"] * 99}, "patches: the size is too large"),
    ],
)
def test_lists(raw: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.read({"patches": raw})
    assert str(caught.value).startswith(told)
