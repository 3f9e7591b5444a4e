"""Deep supervision: the objective of a network with heads at several resolutions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from neoseg.losses import Objective, Prediction


def deep_objective(
    objective: Objective, heads: Sequence[Tensor], prediction: Prediction, codes: Tensor
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the objective over all heads, and the value of each term at the finest head.

    Each coarser head has half the weight of the previous one, normalised to a sum of one (deep
    supervision as in nnU-Net). Teacher and peer are those of `prediction` at every head.

    Args:
        objective: the sum of loss terms.
        heads: logits `[B, N, *S]`, highest resolution first, all upsampled to the patch.
        prediction: everything but the logits.
        codes: uint8 `[B, *S]`.
    """
    weights = [0.5**level for level in range(len(heads))]
    evaluated = [objective.evaluate(replace(prediction, logits=h), codes) for h in heads]
    total = evaluated[0][0] * weights[0]
    for (value, _), weight in zip(evaluated[1:], weights[1:], strict=True):
        total = total + value * weight
    return total / sum(weights), evaluated[0][1]
