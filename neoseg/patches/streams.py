"""Assignment of a scan to each item of each step, as a function of (seed, step, item)."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from neoseg.labels import STREAMS
from neoseg.store.damage import DataError

log = logging.getLogger(__name__)

MAX_OFF = 0.2
"""Largest difference of a stream's share of a step from `patches.mix` that is not told."""

MAX_DENOMINATOR = 10**6
"""Largest denominator of a share: shares are fractions, so that no step is affected by rounding."""


@dataclass(frozen=True)
class Pool:
    """The scans of one cohort in one stream.

    Attributes:
        cohort: its index.
        scans: indices of training scans.
        share: fraction of the stream's items; the shares of all pools add up to 1.
    """

    cohort: int
    scans: tuple[int, ...]
    share: Fraction = Fraction(1)


@dataclass(frozen=True)
class Composition:
    """Number of items of each stream in one step, over all ranks together.

    Attributes:
        counts: items per stream, in the order of `STREAMS`.
        pools: of each stream, by cohort.
    """

    counts: tuple[int, ...]
    pools: tuple[tuple[Pool, ...], ...]

    @property
    def batch_size(self) -> int:
        """Number of items of one step."""
        return sum(self.counts)

    def scan_of(self, seed: int, step: int, item: int) -> tuple[int, int]:
        """Return (stream, scan) of an item.

        The cohorts of a stream take turns, evenly spread according to their shares. Each goes
        through its scans in rounds; every round is a permutation of its own, so that all scans of a
        cohort are used equally often, and any round can be computed without the previous ones.
        """
        if not 0 <= item < self.batch_size:
            raise IndexError(f"item {item} of a step with {self.batch_size}")
        stream, offset = 0, item
        while offset >= self.counts[stream]:
            offset -= self.counts[stream]
            stream += 1
        pool, number = turn(self.pools[stream], step * self.counts[stream] + offset)
        round_number, position = divmod(number, len(pool.scans))
        # The first cohort has the same rounds as without others. The 0 separates the keys of the
        # others from the seeds of patches.
        key = (seed, stream, round_number, *((0, pool.cohort) if pool.cohort else ()))
        return stream, pool.scans[_order(key, len(pool.scans))[position]]


@lru_cache(maxsize=64)
def _order(key: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Return the order of the scans in one round; cached, since consecutive items share a round."""
    return tuple(np.random.default_rng(key).permutation(number).tolist())


def turn(pools: Sequence[Pool], number: int) -> tuple[Pool, int]:
    """Return the pool of item `number` of a stream, and how many items the pool had before.

    After any number of items the first pool has had its share, rounded down; the remainder goes to
    the next pools in the same way. So the result is a function of the number, and exact.
    """
    remainder = Fraction(1)
    for pool in pools[:-1]:
        share = pool.share / remainder
        before = number * share.numerator // share.denominator
        if (number + 1) * share.numerator // share.denominator > before:
            return pool, before
        number -= before
        remainder -= pool.share
    return pools[-1], number


def compose(
    streams: Sequence[int],
    batch_size: int,
    mix: Mapping[str, float] | None,
    cohorts: Sequence[int] | None = None,
    weights: Sequence[float | None] = (None,),
) -> Composition:
    """Divide a batch among the streams that have scans, and each stream among the cohorts.

    Args:
        streams: the stream of each training scan.
        batch_size: items of a step.
        mix: relative share of each stream; the shares of streams without scans go to the others, a
            share of 0 leaves a stream out. None: proportional to the number of scans.
        cohorts: the cohort of each training scan; None: a single cohort.
        weights: of each cohort, its share of the items of a stream relative to the other cohorts
            that have scans there; 0 leaves it out, None is the number of its scans.

    Raises:
        DataError: unknown streams, negative shares, nothing to train on, or a batch too small to
            hold one item of each stream.
    """
    cohorts = [0] * len(streams) if cohorts is None else cohorts
    pools = tuple(_pools(stream, streams, cohorts, weights) for stream in range(len(STREAMS)))
    members = {
        name: sum(len(pool.scans) for pool in stream_pools)
        for name, stream_pools in zip(STREAMS, pools, strict=True)
    }
    shares = {name: float(count) for name, count in members.items()}
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
            f"that has scans: {members}"
        )
    used = [name for name in STREAMS if shares[name] > 0]
    if batch_size < len(used):
        raise DataError(
            f"patches.batch_size is {batch_size}, but the streams {', '.join(used)} need an item "
            f"each; raise it to {len(used)} or set a stream's share in patches.mix to 0"
        )
    # At least one item for each used stream, the others by largest remainder.
    exact = {name: batch_size * shares[name] / total for name in used}
    counts = {name: max(1, int(exact[name])) for name in used}
    while sum(counts.values()) != batch_size:
        grow = sum(counts.values()) < batch_size
        gap = {n: exact[n] - counts[n] for n in used if grow or counts[n] > 1}
        name = max(gap, key=gap.__getitem__) if grow else min(gap, key=gap.__getitem__)
        counts[name] += 1 if grow else -1
    off = max(abs(exact[name] - counts[name]) for name in used) / batch_size
    if off > MAX_OFF:
        log.warning(
            "patches.mix asks for %s of a step's %d patches, which are %s; a larger "
            "patches.batch_size comes nearer",
            ", ".join(f"{exact[name]:.2g} {name}" for name in used),
            batch_size,
            ", ".join(f"{counts[name]} {name}" for name in used),
        )
    return Composition(tuple(counts.get(name, 0) for name in STREAMS), pools)


def _pools(
    stream: int, streams: Sequence[int], cohorts: Sequence[int], weights: Sequence[float | None]
) -> tuple[Pool, ...]:
    """Return the scans of a stream by cohort, without cohorts that have no scans or no weight."""
    members: dict[int, list[int]] = {}
    for number, (scan_stream, cohort) in enumerate(zip(streams, cohorts, strict=True)):
        if scan_stream == stream and weights[cohort] != 0:
            members.setdefault(cohort, []).append(number)
    sizes = {cohort: _fraction(weights[cohort], len(scans)) for cohort, scans in members.items()}
    total = sum(sizes.values(), start=Fraction(0))
    return tuple(Pool(c, tuple(members[c]), sizes[c] / total) for c in sorted(members))


def _fraction(weight: float | None, scans: int) -> Fraction:
    if weight is None:
        return Fraction(scans)
    return max(Fraction(weight).limit_denominator(MAX_DENOMINATOR), Fraction(1, MAX_DENOMINATOR))
