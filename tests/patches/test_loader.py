from __future__ import annotations

import pytest

from neoseg.patches.datamodule import AHEAD, PatchLoader


class Counted:
    """Counts how often an item was asked for."""

    def __init__(self, length: int) -> None:
        self.length, self.made = length, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> int:
        self.made += 1
        return number


@pytest.mark.parametrize("length", [0, 1, AHEAD, 2 * AHEAD + 1])
def test_every_batch_comes_once_and_in_order(length: int) -> None:
    loader = PatchLoader(Counted(length), batch_size=None)  # type: ignore[arg-type]
    assert list(loader) == list(range(length))
    assert len(loader) == length


def test_a_few_batches_are_cut_in_one_go_and_no_more() -> None:
    patches = Counted(10 * AHEAD)
    batches = iter(PatchLoader(patches, batch_size=None))  # type: ignore[arg-type]
    for number in range(3 * AHEAD):
        assert next(batches) == number
        assert patches.made == AHEAD * (number // AHEAD + 1)
