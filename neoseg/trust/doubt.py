"""The doubt that a network leaves inside what is already known of a scan, and what would settle it.

The doubt about a structure at a voxel is the entropy, in bits, of whether the voxel belongs to it,
by the leaf probabilities given the label set that its annotation tells: none where that is one leaf
or lacks the structure. An annotation at some depth tells into which part of a partition of the
leaves the voxel falls, and so settles what the two have in common (their mutual information).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from neoseg.inference.blending import Region
from neoseg.inference.segmentation import Segmentation
from neoseg.labels import Codebook, Protocol
from neoseg.store import Geometry
from neoseg.trust.agreement import Agreement

_SURE = 1e-4
"""Of a voxel whose likeliest leaf lacks less than this, the doubt is not worth a sum."""


@dataclass(frozen=True)
class Doubt:
    """What is left open in one scan.

    Attributes:
        scan: its name.
        settled: bits x ml that each depth of annotation would settle, by its name, and then by
            the abbreviation of the structure; "full" is all.
        volume: ml that each structure is expected to have.
        extent: slices along X, Y, Z (canonical axes) between the first and the last with doubt.
        appearance: see `neoseg.trust.appearance`, with the share of each leaf.
    """

    scan: str
    settled: dict[str, dict[str, float]]
    volume: dict[str, float]
    extent: tuple[int, int, int]
    appearance: dict[str, float]

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Undo `vars`; raises `ValueError`, `KeyError` or `TypeError` for what it never gives."""
        x, y, z = map(int, raw["extent"])
        settled = {str(depth): _numbers(own) for depth, own in raw["settled"].items()}
        volume, looks = _numbers(raw["volume"]), _numbers(raw["appearance"])
        return cls(str(raw["scan"]), settled, volume, (x, y, z), looks)


def _numbers(raw: Any) -> dict[str, float]:
    found = {str(key): float(value) for key, value in raw.items()}
    if not np.isfinite(list(found.values())).all():
        raise ValueError("values are not those of a doubt")
    return found


def doubt_about(share: Tensor) -> Tensor:
    """Return the entropy in bits of yes or no, elementwise, where yes has this probability."""
    no = 1 - share
    found: Tensor = -(torch.special.xlogy(share, share) + torch.special.xlogy(no, no)) / np.log(2)
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
        count = codebook.space.num_leaves
        # Of each leaf the leaves of its part, `[K, K]`.
        self._parts = {
            name: torch.tensor([[float(k in part) for k in range(count)] for part in p.sets])
            for name, p in depths.items()
        }
        self._settled = {name: np.zeros(count) for name in depths}
        self._volume = np.zeros(count)
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
        ml = float(np.prod(geometry.canonical_spacing)) / 1000
        self._volume += given.double().sum(dim=1).numpy() * ml
        open_ = given.amax(dim=0) < 1 - _SURE
        left = given[:, open_]
        alone = doubt_about(left)
        for name, part in self._parts.items():
            around = part @ left
            after = around * doubt_about((left / around.clamp(min=1e-12)).clamp(max=1))
            self._settled[name] += (alone - after).double().sum(dim=1).numpy() * ml
        found = open_.numpy()
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

        def told(values: np.ndarray) -> dict[str, float]:
            pairs = enumerate(zip(names, values.tolist(), strict=True))
            return {name: value for leaf, (name, value) in pairs if leaf != space.background}

        settled = {depth: told(values) for depth, values in self._settled.items()}
        return Doubt(scan, settled, told(self._volume), (x, y, z), looks)
