"""What two real processes see of an epoch, beside what one process sees."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from forked import run_command

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process and each of two have seen."""
    folder = tmp_path_factory.mktemp("ranks")
    status, said = run_command(HERE / "two_ranks.py", folder, cwd=folder, timeout=180)
    assert status == 0, said[-3000:]
    names = ["rank-0-of-1", "rank-0-of-2", "rank-1-of-2"]
    return [json.loads((folder / f"{name}.json").read_text()) for name in names]


def test_both_ranks_do_the_same_steps_with_equal_counts(seen: list[dict[str, Any]]) -> None:
    one, first, second = (found["steps"] for found in seen)
    assert first == second
    assert len(one) == len(first) == 6
    assert {(len(a), len(b)) for a, b in first} == {(2, 2)}


def test_their_items_are_disjoint_and_make_up_the_whole(seen: list[dict[str, Any]]) -> None:
    one, first, _ = (found["steps"] for found in seen)
    for whole, (a, b) in zip(one, first, strict=True):
        assert whole == [*a, *b]
        assert not {content for _, content in a} & {content for _, content in b}
    contents = [content for step in one for _, content in step]
    assert len(set(contents)) == len(contents)


def test_both_map_the_same_files_of_the_store(seen: list[dict[str, Any]]) -> None:
    if seen[0]["mapped"] is None:
        pytest.skip("the system does not tell what a process maps")
    for found in seen[1:]:
        lines = [line.split(maxsplit=5) for line in found["mapped"]]
        rights = {line[5]: line[1] for line in lines if len(line) == 6}
        images = {path for path in rights if path.endswith("image.b2nd")}
        assert images == {f"{entry}/image.b2nd" for entry in seen[0]["entries"]}
        # Pages of a file that nobody may write to exist once, however many processes map it.
        assert not any("w" in rights[path] for path in images)
