"""The doubt that a network leaves inside what is already known of a scan, and what would settle it.

The doubt of a voxel is the entropy, in bits, of its leaf probabilities given the label set that its
annotation tells: none where that is one leaf. An annotation at some depth tells into which part of
a partition of the leaves the voxel falls, and so settles the entropy between those parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from neoseg.inference.blending import Region
from neoseg.inference.segmenter import Segmentation
from neoseg.labels import Codebook, Protocol
from neoseg.store import Geometry
from neoseg.trust.agreement import Agreement

_SURE = 1e-4
"""Bits: below, a voxel has no doubt worth a sum."""


@dataclass(frozen=True)
class Doubt:
    """What is left open in one scan.

    Attributes:
        scan: its name.
        settled: bits x ml that each depth of annotation would settle, by name; "full" is all.
        extent: slices along X, Y, Z (canonical axes) between the first and the last with doubt.
        where: bits x ml by the abbreviation of the leaf that was decided.
        appearance: see `neoseg.trust.appearance`, with the share of each leaf.
    """

    scan: str
    settled: dict[str, float]
    extent: tuple[int, int, int]
    where: dict[str, float]
    appearance: dict[str, float]

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Undo `vars`; raises `ValueError`, `KeyError` or `TypeError` for what it never gives."""
        x, y, z = map(int, raw["extent"])
        words = ("settled", "where", "appearance")
        pairs = {w: {str(k): float(v) for k, v in raw[w].items()} for w in words}
        if not all(np.isfinite(list(p.values())).all() for p in pairs.values()):
            raise ValueError("values are not those of a doubt")
        return cls(scan=str(raw["scan"]), extent=(x, y, z), **pairs)


def entropy(parts: Tensor) -> Tensor:
    """Return the entropy in bits `[N]` of probabilities `[P, N]`."""
    found: Tensor = -torch.special.xlogy(parts, parts).sum(dim=0) / np.log(2)
    return found


class DoubtWatch:
    """A `Watch` that sums the doubt of one scan.

    Args:
        codebook: of what `known` holds.
        depths: the protocols at which the scan may be annotated, by name.
        known: returns the codes `[X, Y, Z]` on the scan's canonical grid; None: nothing is known.
    """

    def __init__(
        self,
        codebook: Codebook,
        depths: Mapping[str, Protocol],
        known: Callable[[Geometry], np.ndarray] | None,
    ) -> None:
        self._codebook, self._read = codebook, known
        sets = {name: sorted(set(p.sets), key=sorted) for name, p in depths.items()}
        leaves = range(codebook.space.num_leaves)
        self._parts = {
            name: torch.tensor([[float(k in part) for k in leaves] for part in parts])
            for name, parts in sets.items()
        }
        self._settled = dict.fromkeys(depths, 0.0)
        self._where = np.zeros(len(leaves))
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._agreement = Agreement(codebook.space)
        self._codes: np.ndarray | None = None

    def __call__(self, probabilities: Tensor, region: Region, geometry: Geometry) -> None:
        """Look at a piece."""
        if self._codes is None and self._read is not None:
            self._codes = self._read(geometry)
        flat = probabilities.float().cpu().flatten(1)
        decided = flat.numpy().argmax(axis=0)
        self._agreement.add(decided, flat)
        given = flat
        if self._codes is not None:
            rows = torch.from_numpy(self._codebook.rows[self._codes[region].ravel()].T)
            given = flat.clamp(min=1e-8) * rows
            given = given / given.sum(dim=0)
        bits = entropy(given)
        open_ = bits > _SURE
        ml = float(np.prod(geometry.canonical_spacing)) / 1000
        for name, parts in self._parts.items():
            self._settled[name] += float(entropy(parts @ given[:, open_]).double().sum()) * ml
        found = open_.numpy()
        weights = bits.numpy()[found] * ml
        self._where += np.bincount(decided[found], weights=weights, minlength=len(self._where))
        if found.any():
            places = np.nonzero(found.reshape(probabilities.shape[1:]))
            start = np.array([part.start for part in region])
            low, high = ([f(p) for p in places] for f in (np.min, np.max))
            self._seen.append((start + low, start + high))

    def doubt(self, scan: str, found: Segmentation) -> Doubt:
        """Return what was seen, once all pieces have been."""
        space, extent = self._codebook.space, np.ones(3)
        if self._seen:
            low, high = zip(*self._seen, strict=True)
            extent = np.max(high, axis=0) - np.min(low, axis=0) + 1
        shares = np.bincount(found.prepared_leaves.ravel(), minlength=space.num_leaves)
        names = [leaf.abbreviation for leaf in space.leaves]
        labelled = max(float(shares.sum() - shares[space.background]), 1.0)
        looks = self._agreement.appearance(found) | {
            f"share of {name}": float(shares[leaf] / labelled)
            for leaf, name in enumerate(names)
            if leaf != space.background
        }
        x, y, z = map(int, extent)
        where = {name: float(v) for name, v in zip(names, self._where, strict=True) if v > 0}
        return Doubt(scan, self._settled, (x, y, z), where, looks)
