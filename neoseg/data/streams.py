"""Which scan each item of each step is of: a function of (seed, step, item), not a state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.data.batch import STREAMS
from neoseg.data.volume import DataError


@dataclass(frozen=True)
class Composition:
    """How many items of each stream one step holds, over all ranks together.

    Attributes:
        counts: items per stream, in the order of `STREAMS`.
        members: numbers of the training scans of each stream.
    """

    counts: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def batch_size(self) -> int:
        """Items of one step."""
        return sum(self.counts)

    def scan_of(self, seed: int, step: int, item: int) -> tuple[int, int]:
        """Return (stream, scan) of an item.

        Each stream goes through its scans in rounds; every round is a permutation of its own, so
        that all scans come equally often, and any round can be computed without those before.
        """
        if not 0 <= item < self.batch_size:
            raise IndexError(f"item {item} of a step with {self.batch_size}")
        stream, place = 0, item
        while place >= self.counts[stream]:
            place -= self.counts[stream]
            stream += 1
        scans = self.members[stream]
        drawn, position = divmod(step * self.counts[stream] + place, len(scans))
        order = np.random.default_rng([seed, stream, drawn]).permutation(len(scans))
        return stream, scans[int(order[position])]


def compose(
    streams: Sequence[int], batch_size: int, mix: Mapping[str, float] | None
) -> Composition:
    """Divide a batch among the streams that have scans.

    Args:
        streams: the stream of each training scan.
        batch_size: items of a step.
        mix: relative share of each stream; streams without scans give theirs to the others, a
            share of 0 leaves a stream out. None shares by the number of scans.

    Raises:
        DataError: unknown streams, negative shares, nothing to train on, or a batch too small to
            hold one item of each stream.
    """
    members = tuple(
        tuple(number for number, found in enumerate(streams) if found == stream)
        for stream in range(len(STREAMS))
    )
    shares = {name: float(len(m)) for name, m in zip(STREAMS, members, strict=True)}
    if mix is not None:
        unknown = set(mix) - set(STREAMS)
        if unknown or not all(0 <= value < math.inf for value in mix.values()):
            raise DataError(
                f"patches.mix is {dict(mix)}; expected shares from 0 up for {', '.join(STREAMS)}"
            )
        shares = {name: mix.get(name, 0.0) if shares[name] else 0.0 for name in STREAMS}
    total = sum(shares.values())
    if total == 0:
        raise DataError(
            "no training scans are left for the streams of patches.mix; give a share to a stream "
            f"that has scans: { {n: len(m) for n, m in zip(STREAMS, members, strict=True)} }"
        )
    used = [name for name in STREAMS if shares[name] > 0]
    if batch_size < len(used):
        raise DataError(
            f"patches.batch_size is {batch_size}, but the streams {', '.join(used)} need an item "
            f"each; raise it to {len(used)} or set a stream's share in patches.mix to 0"
        )
    # One item for each used stream, the rest by largest remainder.
    exact = {name: batch_size * shares[name] / total for name in used}
    counts = {name: max(1, int(exact[name])) for name in used}
    while sum(counts.values()) != batch_size:
        grow = sum(counts.values()) < batch_size
        gap = {n: exact[n] - counts[n] for n in used if grow or counts[n] > 1}
        name = max(gap, key=gap.__getitem__) if grow else min(gap, key=gap.__getitem__)
        counts[name] += 1 if grow else -1
    return Composition(tuple(counts.get(name, 0) for name in STREAMS), members)
