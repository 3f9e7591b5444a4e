"""The objective of a network with heads at several resolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from neoseg.losses import Objective, Prediction


def deep_objective(
    objective: Objective, heads: Sequence[Tensor], prediction: Prediction, codes: Tensor
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the objective over all heads, and each term's own value at the finest.

    Each coarser head counts half of the one before, all together one (deep supervision as in
    nnU-Net). Teacher and peer are those of `prediction` at every head.

    Args:
        objective: the sum of loss terms.
        heads: logits `[B, N, *S]`, highest resolution first, all enlarged to the patch.
        prediction: everything but the logits.
        codes: uint8 `[B, *S]`.
    """
    weights = [0.5**level for level in range(len(heads))]
    found = [objective.evaluate(replace(prediction, logits=h), codes) for h in heads]
    total = found[0][0] * weights[0]
    for (value, _), weight in zip(found[1:], weights[1:], strict=True):
        total = total + value * weight
    return total / sum(weights), found[0][1]
