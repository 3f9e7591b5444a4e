"""Ensembles: several networks that segment a scan together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neoseg.inference.placement import Watch, in_scan, place_pieces
from neoseg.inference.probability import ClassProbabilities, room_for, values_outside
from neoseg.inference.segmentation import Segmentation
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import predict_pieces, votes
from neoseg.labels import LabelSpace
from neoseg.networks import Head
from neoseg.store import Geometry, prepare_labels, to_canonical

_ROWS = 32
"""Number of voxel lines that are decided at a time."""


@dataclass(frozen=True)
class Ensemble:
    """Networks with the same label table, combined by the mean of their leaf probabilities.

    The probability of a leaf is the softmax over the head's leaf scores: for a multi-label head,
    its probability given that exactly one leaf is true. Heads, patch sizes and preparations may
    therefore differ. The networks run one after the other and add to one sum in half precision,
    `[X, Y, Z, K]`, so memory does not depend on their number.

    Attributes:
        members: segmenters by the name of their run.

    Raises:
        ValueError: fewer than two members, or label tables that differ.
    """

    members: Mapping[str, Segmenter]

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError("an ensemble needs two runs or more")
        (name, first), *others = self.members.items()
        for other, member in others:
            pairs = zip_longest(
                _parts(first.head.space), _parts(member.head.space), fillvalue="nothing"
            )
            for mine, theirs in (pair for pair in pairs if pair[0] != pair[1]):
                raise ValueError(
                    f"the runs of an ensemble must have one label table, in one order: {name} has "
                    f"{mine} where {other} has {theirs}"
                )

    @property
    def head(self) -> Head:
        """The head of the first member; all members have the same label space."""
        return next(iter(self.members.values())).head

    def segment(
        self,
        images: Sequence[Path | None],
        classes: Sequence[int] = (),
        scratch: Path | None = None,
        mask: Path | None = None,
        watch: Watch | None = None,
    ) -> Segmentation:
        """Segment one scan given one path per modality (None where it is missing).

        Unless all members share a prepared grid of the scan's voxels, probabilities are averaged on
        the full grid of the scan, with linear interpolation from other voxel sizes.

        Args:
            images: a path per modality of the networks, None if missing.
            classes: positions of the classes whose mean probabilities are returned.
            scratch: folder for a temporary file of these; None keeps them in memory.
            mask: brain mask, for members whose preparation uses it.
            watch: callback that receives the mean probabilities of the leaves.

        Raises:
            DataError: see `Segmenter.volume`.
        """
        members = list(self.members.values())
        share = 1 / len(members)
        settings = (m.prepare for m in members)
        grids = {(s.spacing, s.crop_margin, s.foreground, s.window) for s in settings}
        space = self.head.space
        first: tuple[np.ndarray, Geometry] | None = None
        total: _Sum | None = None
        for member in members:
            image, geometry = member.volume(images, mask)
            if first is None or total is None:
                first = image[0].numpy(), geometry
                canonical = len(grids) > 1 or geometry.resampled
                shape = geometry.canonical_shape if canonical else geometry.prepared_shape
                values = room_for(len(classes), shape, scratch)
                leaves = torch.zeros(*shape, space.num_leaves, dtype=torch.float16)
                corner = list(shape), [0, 0, 0]
                total = _Sum(space, leaves, list(classes), values, canonical, *corner)
            total.add(member, image, geometry, share)
        assert first is not None
        assert total is not None
        picture, geometry = first
        full = prepared = total.decide(share, watch, geometry)
        if total.canonical:
            prepared = prepare_labels(full, geometry)
        else:
            full = to_canonical(prepared, geometry, space.background)
        probabilities = None
        if classes:
            outside = values_outside(space, classes)
            probabilities = ClassProbabilities(
                tuple(classes), total.values, outside, geometry, total.canonical
            )
        how = members[0].prepare
        return Segmentation(full, prepared, picture, geometry, probabilities, how)


@dataclass
class _Sum:
    """Sum of the weighted probabilities of the members added so far.

    Attributes:
        leaves: float16 `[X, Y, Z, K]`; memory outside the box of `low` and `high` is never touched.
        classes: positions of the classes in `values`.
        values: float16 `[len(classes), X, Y, Z]`.
        canonical: whether the grid is the full grid of the scan, else it is the prepared one.
        low, high: corners of the box that received values.
    """

    space: LabelSpace
    leaves: Tensor
    classes: list[int]
    values: np.ndarray
    canonical: bool
    low: list[int]
    high: list[int]

    @torch.no_grad()
    def add(self, member: Segmenter, image: Tensor, geometry: Geometry, share: float) -> None:
        """Add the probabilities of one member, weighted by `share`."""
        head, count = member.head, self.space.num_leaves
        pieces = predict_pieces(
            member.network,
            image,
            head,
            member.window,
            member.device,
            whole_planes=self.canonical and geometry.resampled,
        )

        predicted = ((region, votes(head, logits, self.classes)) for region, logits in pieces)
        values = torch.from_numpy(self.values)
        for region, part in place_pieces(predicted, geometry) if self.canonical else predicted:
            part = (part * share).cpu()
            sums = self.leaves[region]
            sums.copy_(sums.float().add_(part[:count].movedim(0, -1)))
            class_sums = values[(slice(None), *region)]
            class_sums.copy_(class_sums.float().add_(part[count:]))
            self.low = [min(a, r.start) for a, r in zip(self.low, region, strict=True)]
            self.high = [max(a, r.stop) for a, r in zip(self.high, region, strict=True)]

    def decide(self, share: float, watch: Watch | None, geometry: Geometry) -> np.ndarray:
        """Return the most probable leaf of each voxel, uint8 `[X, Y, Z]`, and complete `values`.

        Outside the region that a member predicted, it counts as certain of the background.
        """
        background = self.space.background
        leaves = np.full(self.leaves.shape[:3], background, dtype=np.uint8)
        outside = torch.tensor(values_outside(self.space, self.classes))
        box = tuple(slice(a, b) for a, b in zip(self.low, self.high, strict=True))
        for number, value in enumerate(outside.tolist()):
            if value:
                inside = self.values[number][box].copy()
                self.values[number] = value
                self.values[number][box] = inside
        values = torch.from_numpy(self.values)
        for x in range(self.low[0], self.high[0]):
            for y in range(self.low[1], self.high[1], _ROWS):
                rows = slice(y, min(y + _ROWS, self.high[1]))
                part = self.leaves[x, rows, box[2]].float()
                missing = ((1 - part.sum(dim=-1)) / share).round() * share
                part[..., background] += missing
                leaves[x, rows, box[2]] = part.numpy().argmax(-1)
                values[:, x, rows, box[2]] += outside[:, None, None] * missing
                if watch is not None:
                    region = slice(x, x + 1), rows, box[2]
                    target = region if self.canonical else in_scan(region, geometry)
                    watch(part.movedim(-1, 0)[:, None], target, geometry)
        return leaves


def _parts(space: LabelSpace) -> list[str]:
    """Return what identifies a label table, in words."""
    names = [leaf.abbreviation for leaf in space.leaves]
    leaves = [f"{leaf.index} {leaf.abbreviation}" for leaf in space.leaves]
    classes = [
        f"{entry.abbreviation} = {' + '.join(names[k] for k in sorted(entry.leaves))}"
        for entry in space.classes
    ]
    return [*leaves, *classes, f"the background {names[space.background]}"]
