"""The loader of training patches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import DataLoader

from neoseg.data.batch import Batch

AHEAD = 4
"""Batches that a training without loader processes cuts in one go."""


class PatchLoader(DataLoader[Batch]):
    """Gives the batches of an epoch one by one.

    Without loader processes they are cut a few at a time: a training step leaves nothing of what
    cutting needs in the caches of the processor, and so the first batch takes half as long again as
    those that follow it at once.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = super().__iter__()
        return batches if self.num_workers else _in_groups(batches, AHEAD)


def _in_groups(batches: Iterator[Batch], number: int) -> Iterator[Batch]:
    while group := list(islice(batches, number)):
        while group:
            yield group.pop(0)
