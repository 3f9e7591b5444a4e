"""Carry the weights of a network over to one of the same kind with other image and head channels.

A channel of the new head starts as a weighted sum of channels of the old one. The logits of a class
that is in both tables do not change.
"""

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
"""Channels that an axis of a weight corresponds to: those a layer reads ("in") or returns."""


@dataclass(frozen=True)
class HeadStart:
    """How the N channels of a new head start from the M channels of an old one.

    Attributes:
        final: float64 `[N, M]`, factors of the old logits.
        hidden: float64 `[N, M]`, factors of hidden channels that are as many as the head's, before
            the last layer of a network.
        shift: float64 `[N]`, added to the logits.
        drawn: bool `[N]`: the channel has no source and keeps its random weights.
    """

    final: Tensor
    hidden: Tensor
    shift: Tensor
    drawn: Tensor

    @property
    def reading(self) -> Tensor:
        """Float64 `[M, N]`: how a layer that reads the old hidden channels reads the new ones.

        The new channels that equal an old one, or are parts of it, share its weight evenly; if
        there are none, the unions that contain it do.
        """
        itself = (self.hidden == 1) & (self.hidden.sum(1, keepdim=True) == 1)
        sharing = (itself | ((self.hidden > 0) & ~itself.any(0))).double()
        return (sharing / sharing.sum(0).clamp(min=1)).T


def head_start(old: Head, new: Head, carried: Sequence[Carried]) -> HeadStart:
    """Return how the channels of a new head start from those of an old one.

    A softmax channel taken from a multi-label head is the sum of the logits of the classes that
    contain its leaf, by which that head decides (see `MultiLabelHead`). A class taken from a
    softmax head, and a union, are the mean of their leaves plus the logarithm of their number,
    which is the log-sum-exp of equal logits. Each of n parts in a softmax gets log n less, so that
    together they are as probable as before.

    Args:
        old, new: the two heads.
        carried: source of each class of the new head, as `neoseg.labels.carried.carried` returns.
    """
    starts = carried[: new.channels]
    final, hidden = (torch.zeros(new.channels, old.channels, dtype=torch.float64) for _ in "12")
    shift = torch.zeros(new.channels, dtype=torch.float64)
    for channel, start in enumerate(starts):
        rows = [_channels_of(old, position) for position in start.old]
        for row in rows:
            hidden[channel, row] += 1 / len(row) / len(rows)
        summed = new.name == "softmax" and old.name == "multilabel"
        for position, row in zip(start.old, rows, strict=True):
            superclasses = _superclasses(old.space, position) if summed else []
            final[channel, row] += 1 / len(row) / len(rows)
            final[channel, superclasses] += 1 / len(rows)
        if rows:
            shift[channel] = math.log(sum(map(len, rows)))
        if new.name == "softmax":
            shift[channel] -= math.log(start.share)
    return HeadStart(final, hidden, shift, torch.tensor([not start.old for start in starts]))


def image_start(old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Return float64 `[new, old]`: the old image channels as which new ones are read.

    The weights of an added channel start at zero, which preserves the learnt function and does not
    keep them from learning. If the networks have no channel in common, each new image gets an equal
    share of the sum over the old images. Names of channels that only indicate whether an image is
    present end with a question mark.
    """
    table = torch.tensor([[float(a == b) for b in old] for a in new], dtype=torch.float64)
    if table.any():
        return table
    new_is_image, old_is_image = (
        [not name.endswith("?") for name in names] for names in (new, old)
    )
    table[:] = torch.outer(torch.tensor(new_is_image).double(), torch.tensor(old_is_image).double())
    return table / sum(new_is_image)


def _channels_of(head: Head, position: int) -> list[int]:
    """Return the channels that represent a class: its own, or those of its leaves."""
    return [position] if position < head.channels else sorted(head.space.classes[position].leaves)


def _superclasses(space: LabelSpace, position: int) -> list[int]:
    """Return the positions of the classes that properly contain a class."""
    leaves = space.classes[position].leaves
    return [number for number, entry in enumerate(space.classes) if leaves < entry.leaves]


def roles(network: nn.Module, build: Callable[[int, int], nn.Module]) -> dict[str, dict[int, Role]]:
    """Return the axes of each weight that depend on the number of channels, with their roles.

    Args:
        network: whose weights are examined.
        build: makes a network of the same kind with the given numbers of additional image and head
            channels.
    """
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    axis_roles: dict[str, dict[int, Role]] = {}
    for kind, images, outputs in (("images", 1, 0), ("classes", 0, 1)):
        with torch.random.fork_rng():
            larger = build(images, outputs).state_dict()
        for name, shape in shapes.items():
            if name not in larger or larger[name].ndim != len(shape):
                continue
            grown_axes = [axis for axis, n in enumerate(shape) if larger[name].shape[axis] == n + 1]
            for axis in grown_axes:
                is_input = axis == _reading_axis(network, name)
                axis_roles.setdefault(name, {})[axis] = f"{kind} in" if is_input else kind  # type: ignore[assignment]
    return axis_roles


def _reading_axis(network: nn.Module, name: str) -> int | None:
    """Return the axis of a weight that corresponds to the input channels of its layer, if any."""
    owner, _, kind = name.rpartition(".")
    layer = network.get_submodule(owner)
    if kind != "weight" or getattr(layer, kind).ndim < 2:
        return None
    return 0 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 1


def is_head(name: str, known: Mapping[str, Mapping[int, Role]]) -> bool:
    """Return whether a weight belongs to a layer whose size depends on the number of classes."""
    return any(role.startswith("classes") for role in known.get(name, {}).values())


@dataclass(frozen=True)
class Moved:
    """Weights for the new network, and their names by origin.

    Attributes:
        weights: a `state_dict` of the new network.
        kept: names of weights copied from the old network.
        fitted: names of weights adapted to other channels.
        drawn: names of weights that the old network lacks, or has in an incompatible shape.
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
    """Return weights for `network` from those of another network; `network` is not changed.

    Args:
        old: the `state_dict` of the other network.
        network: with randomly initialised weights.
        known: the result of `roles`.
        images: the result of `image_start`; None if the old image channels are unknown.
        head: the result of `head_start`; None if the old classes are unknown.
    """
    weights, names = {}, {"kept": [], "fitted": [], "drawn": []}  # type: ignore[var-annotated]
    final = {name.rpartition(".")[0] for name in known if _is_final(known[name])}
    for name, fresh in network.state_dict().items():
        value = _fitted(old.get(name), fresh, known.get(name, {}), name, final, images, head)
        origin = "drawn" if value is None else "fitted" if name in known else "kept"
        weights[name] = fresh.clone() if value is None else value.to(fresh.dtype)
        names[origin].append(name)
    return Moved(weights, *(tuple(names[origin]) for origin in ("kept", "fitted", "drawn")))


def _is_final(known: Mapping[int, Role]) -> bool:
    """Return whether a layer both reads and returns channels that are as many as the head's."""
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
    """Return the old weight, adapted to the new channels; None if it does not fit."""
    if value is None or value.ndim != fresh.ndim:
        return None
    owner, _, kind = name.rpartition(".")
    is_last = owner in final or not final
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
            tables[axis] = start.final if is_last else start.hidden
    shape = [tables[a].shape[1] if a in tables else n for a, n in enumerate(fresh.shape)]
    if list(value.shape) != shape:
        return None
    if not known:
        return value.clone()
    weight = value.double()
    for axis, table in tables.items():
        weight = torch.tensordot(table, weight, dims=([1], [axis])).movedim(0, axis)
    weight = weight.contiguous()
    for axis, role in known.items():
        if role == "classes" and head is not None:
            if kind == "bias" and is_last:
                weight += head.shift
            weight.movedim(axis, 0)[head.drawn] = fresh.double().movedim(axis, 0)[head.drawn]
        elif role == "images" and images is not None:
            drawn = ~images.any(1)
            weight.movedim(axis, 0)[drawn] = fresh.double().movedim(axis, 0)[drawn]
    return weight
