"""Label sets as the softmax passes use them: single leaves by index, merged sets by matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelSets:
    """The codes of a codebook in three groups.

    A single leaf costs one value a voxel to read or write, a merged set a row of a matrix
    product, and the set of all leaves, whose mass is 1 whatever the network says, nothing.

    Attributes:
        members: bool `[K, R]`.
        leaf: int64 `[R]`, the leaf of a code with one leaf, 0 for the others.
        single: bool `[R]`, codes with one leaf.
        row: int64 `[R]`, row of `merged` for a code with several leaves but not all, else 0.
        is_merged: bool `[R]`.
        merged: `[M, K]`, 1 at the leaves of each such set, else 0.
    """

    members: Tensor
    leaf: Tensor
    single: Tensor
    row: Tensor
    is_merged: Tensor
    merged: Tensor

    @classmethod
    def of(cls, members: Tensor, dtype: torch.dtype) -> LabelSets:
        """Sort the codes of `members` (bool `[K, R]`) into the groups."""
        size = members.sum(0)
        single = size == 1
        is_merged = ~single & (size < len(members))
        return cls(
            members=members,
            leaf=members.int().argmax(0) * single,
            single=single,
            row=(is_merged.cumsum(0) - 1) * is_merged,
            is_merged=is_merged,
            merged=members[:, is_merged].T.to(dtype),
        )

    def mass(self, p: Tensor, code: Tensor) -> Tensor:
        """Sum of p `[K, n]` over the leaves that each code, int64 `[n]`, allows: `[n]`."""
        mass = p.gather(0, self.leaf[code].unsqueeze(0))[0]
        if len(self.merged):
            of_sets = (self.merged @ p).gather(0, self.row[code].unsqueeze(0))[0]
            mass = torch.where(self.is_merged[code], of_sets, mass)
        return torch.where((self.single | self.is_merged)[code], mass, 1.0)

    def add_to(self, values: Tensor, code: Tensor, amount: Tensor) -> None:
        """Add `amount` `[n]` to the rows of `values` `[K, n]` that each code allows.

        The set of all leaves adds nothing: what is added alike everywhere, a softmax forgets.
        """
        alone = amount * self.single[code]
        values.scatter_add_(0, self.leaf[code].unsqueeze(0), alone.unsqueeze(0))
        if len(self.merged):
            share = amount.new_zeros(len(self.merged), len(amount))
            share.scatter_(0, self.row[code].unsqueeze(0), (amount * self.is_merged[code])[None])
            values.addmm_(self.merged.T, share)

    def inside(self, logits: Tensor, code: Tensor) -> Tensor:
        """The logits `[K, n]` of the leaves that each code allows, the others minus infinity."""
        outside = ~self.members.index_select(1, code)
        return logits.to(self.merged.dtype).masked_fill(outside, -torch.inf)
