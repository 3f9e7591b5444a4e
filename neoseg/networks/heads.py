"""Heads: the meaning of a network's channels, and their decoding to a map of leaves."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from neoseg.accelerator import sent
from neoseg.findings.nearest import nearest
from neoseg.labels import LabelSpace

DECODINGS = ("hierarchy", "paper")
"""Rules that turn class channels into leaves; see `MultiLabelHead`."""

SLAB_ELEMENTS = 2**23
"""Largest number of values in a temporary copy (32 MiB in float32) while decoding."""


class Head(ABC):
    """Meaning of the N channels of a network over one label space.

    All tensors are `[B, N, *S]` with any number of spatial axes S. The head has no parameters.
    """

    name: ClassVar[str]

    def __init__(self, space: LabelSpace, decoding: str = "hierarchy") -> None:
        _require_choice(decoding, DECODINGS, "decoding")
        self.space = space
        self.decoding = decoding

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.space.name!r}, decoding={self.decoding!r})"

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of network channels N."""

    @abstractmethod
    def _scores(self, logits: Tensor) -> Tensor:
        """Map logits `[B, N, *S]` to leaf scores `[B, K, *S]`."""

    @abstractmethod
    def class_probabilities(self, logits: Tensor) -> Tensor:
        """Return `[B, C, *S]` in [0, 1], in the type of `logits`; differentiable.

        Raises:
            ValueError: the number of channels is not that of the head.
        """

    def leaf_scores(self, logits: Tensor) -> Tensor:
        """Return `[B, K, *S]`, whose argmax over K is the decision; see the head for its unit.

        Raises:
            ValueError: the number of channels is not that of the head.
        """
        self._check(logits)
        return self._scores(logits)

    @torch.no_grad()
    def decode(self, logits: Tensor) -> Tensor:
        """Return uint8 `[B, *S]`: the position of the leaf with the highest score in each voxel.

        Half-precision logits are summed in float32. Extra memory is a few slabs (32 MiB each) and
        the result, regardless of the number of classes.

        Raises:
            ValueError: the number of channels is not that of the head.
        """
        self._check(logits)
        leaves = torch.empty(
            (logits.shape[0], *logits.shape[2:]), dtype=torch.uint8, device=logits.device
        )
        for slab in self._slabs(logits):
            leaves[_spatial(slab)] = self._scores(logits[slab].float()).argmax(dim=1).byte()
        return leaves

    def _slabs(self, logits: Tensor) -> Iterator[tuple[slice, ...]]:
        """Split batch and first spatial axis into pieces of at most a slab, or of one plane."""
        batch, _, *size = logits.shape
        item_values = self.space.num_classes
        for length in size:
            item_values *= length
        if batch * item_values <= SLAB_ELEMENTS or not size:
            yield (slice(None),)
            return
        planes = max(1, SLAB_ELEMENTS * size[0] // item_values)
        for item in range(batch):
            for start in range(0, size[0], planes):
                yield slice(item, item + 1), slice(None), slice(start, start + planes)

    def _check(self, logits: Tensor) -> None:
        if logits.ndim < 2 or logits.shape[1] != self.channels:
            raise ValueError(
                f"head '{self.name}' of label table '{self.space.name}' reads [batch, "
                f"{self.channels}, ...], found {list(logits.shape)}; build the network with "
                f"out_channels={self.channels} or choose the head that it was trained with"
            )

    def _table(self, like: Tensor, classes: slice) -> Tensor:
        """Return the class-leaf table `[classes, K]` in the type and on the device of `like`."""
        table = self.space.class_leaves[classes]
        return sent(torch.from_numpy(table).to(like.dtype), like.device)


class MultiLabelHead(Head):
    """A sigmoid per class: N = C channels, whose first K are the leaves.

    `decoding` turns the C channels z into one leaf:

    *hierarchy* (default) uses every channel. If a voxel is leaf k, its class indicators must be
    column k of the class-leaf table A [C, K]. With the channels as independent Bernoulli variables
    the log-likelihood of that column is

        sum_c A[c,k] log s(z_c) + (1 - A[c,k]) log(1 - s(z_c)) = sum_c A[c,k] z_c + const,

    because log s(z) - log(1 - s(z)) = z; the constant is the same for all leaves. So the score of
    a leaf is the sum of the logits of the classes that contain it, one matrix product, and its
    softmax over the leaves is the probability of each leaf given that exactly one is true. A leaf
    gains if its super-classes agree with it and loses if they do not. Classes that contain each
    other count as separate evidence.

    *paper* (Kucheruk et al., MLHC 2025): the most probable of all C channels wins; if it is a
    super-class, the most probable of its leaves is taken. This compares channels that exclude each
    other with channels that contain each other, and never adds up the evidence of a leaf and its
    super-class: a voxel in which both are probable goes to an outside leaf whose channel is
    slightly higher than either. Leaves outside the winner score minus infinity.
    """

    name = "multilabel"

    @property
    def channels(self) -> int:
        """Number of classes C."""
        return self.space.num_classes

    def class_probabilities(self, logits: Tensor) -> Tensor:
        """Return the sigmoid of each channel."""
        self._check(logits)
        return logits.sigmoid()

    def _scores(self, logits: Tensor) -> Tensor:
        count = self.space.num_leaves
        leaves = logits[:, :count]
        if self.decoding == "paper":
            allowed = self._table(logits, slice(None)).bool()[logits.argmax(dim=1)]
            return leaves.masked_fill(~allowed.movedim(-1, 1), -torch.inf)
        if count == self.channels:
            return leaves
        table = self._table(logits, slice(count, None))
        return leaves + _product(table.T, logits[:, count:])


class SoftmaxHead(Head):
    """A softmax over the leaves: N = K channels; a class has the sum of its leaves' probabilities.

    Leaf scores are the logits themselves, since super-classes add no information.
    """

    name = "softmax"

    def __init__(self, space: LabelSpace, decoding: str = "hierarchy") -> None:
        super().__init__(space, decoding)
        if decoding != "hierarchy":
            raise ValueError(
                f"decoding '{decoding}' compares class channels, and head 'softmax' has leaf "
                "channels only; use decoding 'hierarchy' or head 'multilabel'"
            )

    @property
    def channels(self) -> int:
        """Number of leaves K."""
        return self.space.num_leaves

    def class_probabilities(self, logits: Tensor) -> Tensor:
        """Return the softmax over the leaves and its sums over the super-classes."""
        self._check(logits)
        count = self.channels
        if self.space.num_classes == count:
            return logits.softmax(dim=1)
        # Filled slab by slab: concatenating leaves and classes at the end would copy the leaves.
        result = logits.new_empty(len(logits), self.space.num_classes, *logits.shape[2:])
        for slab in self._slabs(logits):
            leaves = logits[slab].float().softmax(dim=1)
            classes = _product(self._table(leaves, slice(count, None)), leaves)
            # Rounding may raise a sum of many leaves above 1.
            result[slab] = torch.cat([leaves, classes.clamp(max=1)], dim=1).to(logits.dtype)
        return result

    def _scores(self, logits: Tensor) -> Tensor:
        return logits


HEADS: dict[str, type[Head]] = {head.name: head for head in (MultiLabelHead, SoftmaxHead)}


def make_head(name: str, space: LabelSpace, decoding: str = "hierarchy") -> Head:
    """Build the head `name` ("multilabel" or "softmax") over a label space.

    Raises:
        ValueError: an unknown head or decoding, or a decoding that the head does not support.
    """
    _require_choice(name, tuple(HEADS), "head")
    return HEADS[name](space, decoding)


def _require_choice(value: str, choices: tuple[str, ...], what: str) -> None:
    """Raise `ValueError` if `value` is not among `choices`; `what` names it in the message."""
    if value not in choices:
        raise ValueError(f"{what} '{value}' does not exist{nearest(value, choices)}")


def _product(table: Tensor, values: Tensor) -> Tensor:
    """Multiply `table` `[m, n]` by the channels of `[B, n, *S]`, giving `[B, m, *S]`."""
    batch, _, *size = values.shape
    return (table @ values.reshape(batch, values.shape[1], -1)).reshape(batch, -1, *size)


def _spatial(slab: tuple[slice, ...]) -> tuple[slice, ...]:
    """Drop the channel axis of a slab."""
    return (slab[0], *slab[2:])
