"""Doubt of a network given the current annotation of a scan, and how much annotation settles it.

The doubt about a structure at a voxel is the entropy in bits of whether the voxel belongs to it,
under the leaf probabilities conditioned on the annotated label set; it is 0 if that set is a single
leaf or excludes the structure. An annotation at some depth reveals the part of a partition of the
leaves that contains the voxel, and so settles the mutual information of the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor

from neoseg.inference.blending import Region
from neoseg.inference.segmentation import Segmentation
from neoseg.labels import Codebook, Protocol
from neoseg.store import Geometry
from neoseg.trust.agreement import Agreement

_NEGLIGIBLE = 1e-4
"""Voxels whose most probable leaf has at least 1 minus this probability are skipped."""


@dataclass(frozen=True)
class Doubt:
    """The doubt that is left in one scan.

    Attributes:
        scan: name of the scan.
        settled: depth of annotation -> structure (abbreviation) -> bits x ml that it would settle;
            "full" settles all doubt.
        volume: expected volume of each structure, ml.
        extent: number of slices along X, Y, Z (canonical axes) from the first to the last with
            doubt.
        appearance: see `neoseg.trust.appearance`, with the share of each leaf added.
    """

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    scan: str
    settled: dict[str, dict[str, float]]
    volume: dict[str, float]
    extent: tuple[int, int, int]
    appearance: dict[str, float]

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Invert `vars`; raises `ValueError` for invalid content."""
        return TypeAdapter(cls).validate_python(raw)


def doubt_about(share: Tensor) -> Tensor:
    """Return the binary entropy in bits of probabilities `share`, elementwise."""
    no = 1 - share
    entropy: Tensor = -(torch.special.xlogy(share, share) + torch.special.xlogy(no, no)) / np.log(2)
    return entropy


class DoubtWatch:
    """A `Watch` that accumulates the doubt of one scan.

    Args:
        codebook: codebook of the codes that `known` returns.
        depths: protocols at which the scan can be annotated, by name.
        known: returns the codes `[X, Y, Z]` of the current annotation on the canonical grid; None
            for a scan without annotation.
    """

    def __init__(
        self,
        codebook: Codebook,
        depths: Mapping[str, Protocol],
        known: Callable[[Geometry], np.ndarray] | None,
    ) -> None:
        self._codebook, self._read = codebook, known
        count = codebook.space.num_leaves
        # For each leaf (row) the leaves in the same part of the partition, `[K, K]`.
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
        """Accumulate the doubt of a region."""
        if self._codes is None and self._read is not None:
            self._codes = self._read(geometry)
        flat = probabilities.float().cpu().flatten(1)
        decided = flat.numpy().argmax(axis=0)
        self._agreement.add(decided, flat)
        posterior = flat
        if self._codes is not None:
            rows = torch.from_numpy(self._codebook.rows[self._codes[region].ravel()].T)
            posterior = flat.clamp(min=1e-8) * rows
            posterior = posterior / posterior.sum(dim=0)
        ml = geometry.voxel_ml
        self._volume += posterior.double().sum(dim=1).numpy() * ml
        open_ = posterior.amax(dim=0) < 1 - _NEGLIGIBLE
        undecided = posterior[:, open_]
        entropy = doubt_about(undecided)
        for name, part in self._parts.items():
            part_mass = part @ undecided
            remaining = part_mass * doubt_about(
                (undecided / part_mass.clamp(min=1e-12)).clamp(max=1)
            )
            self._settled[name] += (entropy - remaining).double().sum(dim=1).numpy() * ml
        is_open = open_.numpy()
        if is_open.any():
            indices = np.nonzero(is_open.reshape(probabilities.shape[1:]))
            start = np.array([part.start for part in region])
            low, high = ([f(p) for p in indices] for f in (np.min, np.max))
            self._seen.append((start + low, start + high))

    def doubt(self, scan: str, found: Segmentation) -> Doubt:
        """Return the doubt of the scan, after all regions were accumulated."""
        space, extent = self._codebook.space, np.ones(3)
        if self._seen:
            low, high = zip(*self._seen, strict=True)
            extent = np.max(high, axis=0) - np.min(low, axis=0) + 1
        shares = np.bincount(found.prepared_leaves.ravel(), minlength=space.num_leaves)
        names = [leaf.abbreviation for leaf in space.leaves]
        labelled = max(float(shares.sum() - shares[space.background]), 1.0)
        appearance = self._agreement.appearance(found) | {
            f"share of {name}": float(shares[leaf] / labelled)
            for leaf, name in enumerate(names)
            if leaf != space.background
        }
        x, y, z = map(int, extent)

        def by_structure(values: np.ndarray) -> dict[str, float]:
            pairs = enumerate(zip(names, values.tolist(), strict=True))
            return {name: value for leaf, (name, value) in pairs if leaf != space.background}

        settled = {depth: by_structure(values) for depth, values in self._settled.items()}
        return Doubt(scan, settled, by_structure(self._volume), (x, y, z), appearance)
