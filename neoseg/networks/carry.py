"""Weights of a network put into one of the same kind with other images and other channels.

A channel of the new head starts as a weighted sum of channels of the old one. Where a class stands
in both tables, nothing about its logits changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from neoseg.labels import LabelSpace
from neoseg.labels.carried import Carried
from neoseg.networks.heads import Head

Role = Literal["images in", "images", "classes in", "classes"]
"""What an axis of a weight runs over: channels that are read ("in"), or that are given."""


@dataclass(frozen=True)
class HeadStart:
    """How the N channels of a new head come of the M of an old one.

    Attributes:
        final: float64 `[N, M]`, of the logits.
        hidden: float64 `[N, M]`, of channels of the same number within a network, before its last
            layer.
        shift: float64 `[N]`, what is added to the logits.
        drawn: bool `[N]`: the channel has nothing to start from.
    """

    final: Tensor
    hidden: Tensor
    shift: Tensor
    drawn: Tensor

    @property
    def reading(self) -> Tensor:
        """Float64 `[M, N]`: how a layer that reads old hidden channels reads the new ones.

        An old channel is read alike where it is itself or split, and else from a union.
        """
        itself = (self.hidden == 1) & (self.hidden.sum(1, keepdim=True) == 1)
        found = (itself | ((self.hidden > 0) & ~itself.any(0))).double()
        return (found / found.sum(0).clamp(min=1)).T


def head_start(old: Head, new: Head, carried: Sequence[Carried]) -> HeadStart:
    """Say how the channels of one head come of another's, given what the classes are.

    A softmax channel from a multi-label head is the sum over the classes around its leaf, by which
    that head decides (see `MultiLabelHead`); a class from a softmax head, and a union, the mean of
    its leaves plus the logarithm of their number, which is the log-sum of equal ones; of n parts
    in a softmax each has log n less, so that together they are as probable as before.
    """
    starts = carried[: new.channels]
    final, hidden = (torch.zeros(new.channels, old.channels, dtype=torch.float64) for _ in "12")
    shift = torch.zeros(new.channels, dtype=torch.float64)
    for channel, start in enumerate(starts):
        rows = [_channels_of(old, place) for place in start.old]
        for row in rows:
            hidden[channel, row] += 1 / len(row) / len(rows)
        summed = new.name == "softmax" and old.name == "multilabel"
        for place, row in zip(start.old, rows, strict=True):
            around = _around(old.space, place) if summed else []
            final[channel, row] += 1 / len(row) / len(rows)
            final[channel, around] += 1 / len(rows)
        if rows:
            shift[channel] = math.log(sum(map(len, rows)))
        if new.name == "softmax":
            shift[channel] -= math.log(start.share)
    return HeadStart(final, hidden, shift, torch.tensor([not start.old for start in starts]))


def image_start(old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Return float64 `[new, old]`: which image channels are read as which.

    An added one starts at nothing, so that what was learnt holds; it learns all the same. Where
    no image was there before, all together are read as the old ones were. Channels that only tell
    whether an image is there end with a question mark.
    """
    table = torch.tensor([[float(a == b) for b in old] for a in new], dtype=torch.float64)
    if table.any():
        return table
    here, there = ([not name.endswith("?") for name in names] for names in (new, old))
    table[:] = torch.outer(torch.tensor(here).double(), torch.tensor(there).double())
    return table / sum(here)


def _channels_of(head: Head, place: int) -> list[int]:
    """Return the channels that stand for a class: its own, or those of its leaves."""
    return [place] if place < head.channels else sorted(head.space.classes[place].leaves)


def _around(space: LabelSpace, place: int) -> list[int]:
    leaves = space.classes[place].leaves
    return [number for number, entry in enumerate(space.classes) if leaves < entry.leaves]


def roles(network: nn.Module, build: Callable[[int, int], nn.Module]) -> dict[str, dict[int, Role]]:
    """Return what the axes of the weights of a network run over, of those about its channels.

    Args:
        network: whose weights are asked about.
        build: makes one of its kind with so many more channels of images and of the head.
    """
    here = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found: dict[str, dict[int, Role]] = {}
    for what, images, outputs in (("images", 1, 0), ("classes", 0, 1)):
        with torch.random.fork_rng():
            other = build(images, outputs).state_dict()
        for name, shape in here.items():
            if name not in other or other[name].ndim != len(shape):
                continue
            grown = [axis for axis, n in enumerate(shape) if other[name].shape[axis] == n + 1]
            for axis in grown:
                reads = axis == _reading_axis(network, name)
                found.setdefault(name, {})[axis] = f"{what} in" if reads else what  # type: ignore[assignment]
    return found


def _reading_axis(network: nn.Module, name: str) -> int | None:
    """Return the axis of a weight along which its layer reads."""
    owner, _, kind = name.rpartition(".")
    layer = network.get_submodule(owner)
    if kind != "weight" or getattr(layer, kind).ndim < 2:
        return None
    return 0 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 1


def is_head(name: str, known: Mapping[str, Mapping[int, Role]]) -> bool:
    """Whether a weight belongs to the layers whose size goes by the classes."""
    return any(role.startswith("classes") for role in known.get(name, {}).values())


@dataclass(frozen=True)
class Moved:
    """Weights for the new network, and how many of its numbers come from where.

    Attributes:
        weights: a `state_dict` of the new network.
        kept: names of weights that are the old ones.
        fitted: names of those that were brought to other channels.
        drawn: names of those that the old network has not, or has otherwise.
    """

    weights: dict[str, Tensor]
    kept: tuple[str, ...]
    fitted: tuple[str, ...]
    drawn: tuple[str, ...]


def moved(
    old: Mapping[str, Tensor],
    network: nn.Module,
    known: Mapping[str, Mapping[int, Role]],
    images: Tensor | None,
    head: HeadStart | None,
) -> Moved:
    """Return weights for `network` from those of another one; it is not changed.

    Args:
        old: the `state_dict` of the other one.
        network: with weights that were drawn.
        known: as `roles` gives it.
        images: as `image_start`; None where nobody knows what the old channels were.
        head: as `head_start`; None likewise.
    """
    weights, sorts = {}, {"kept": [], "fitted": [], "drawn": []}  # type: ignore[var-annotated]
    final = {name.rpartition(".")[0] for name in known if _is_final(known[name])}
    for name, fresh in network.state_dict().items():
        value = _fitted(old.get(name), fresh, known.get(name, {}), name, final, images, head)
        sort = "drawn" if value is None else "fitted" if name in known else "kept"
        weights[name] = fresh.clone() if value is None else value.to(fresh.dtype)
        sorts[sort].append(name)
    return Moved(weights, *(tuple(sorts[sort]) for sort in ("kept", "fitted", "drawn")))


def _is_final(known: Mapping[int, Role]) -> bool:
    return {"classes", "classes in"} <= set(known.values())


def _fitted(
    value: Tensor | None,
    fresh: Tensor,
    known: Mapping[int, Role],
    name: str,
    final: set[str],
    images: Tensor | None,
    head: HeadStart | None,
) -> Tensor | None:
    """Return the old weight, brought to the new channels; None where it does not fit."""
    if value is None or value.ndim != fresh.ndim:
        return None
    owner, _, kind = name.rpartition(".")
    last = owner in final or not final
    tables: dict[int, Tensor] = {}
    for axis, role in known.items():
        start = images if role.startswith("images") else head
        if start is None:
            return None
        if isinstance(start, Tensor):
            tables[axis] = start
        elif role == "classes in":
            tables[axis] = start.reading.T
        else:
            tables[axis] = start.final if last else start.hidden
    shape = [tables[a].shape[1] if a in tables else n for a, n in enumerate(fresh.shape)]
    if list(value.shape) != shape:
        return None
    if not known:
        return value.clone()
    found = value.double()
    for axis, table in tables.items():
        found = torch.tensordot(table, found, dims=([1], [axis])).movedim(0, axis)
    found = found.contiguous()
    for axis, role in known.items():
        if role == "classes" and head is not None:
            if kind == "bias" and last:
                found += head.shift
            found.movedim(axis, 0)[head.drawn] = fresh.double().movedim(axis, 0)[head.drawn]
        elif role == "images" and images is not None:
            lost = ~images.any(1)
            found.movedim(axis, 0)[lost] = fresh.double().movedim(axis, 0)[lost]
    return found
