"""What every loss term shares: its inputs, the codebook's tables, and float32 arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from neoseg.labels import Codebook

MULTILABEL = "multilabel"
"""Head with a sigmoid for each of the C classes."""

SOFTMAX = "softmax"
"""Head with a softmax over the K leaves."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Smooth = Annotated[float, Field(gt=0, description="added to numerator and denominator")]
SmoothBelow = Annotated[float, Field(gt=0, description="added to the denominator")]
WholeBatch = Annotated[
    bool, Field(description="true: sums over the whole batch instead of one item")
]
PartWeight = Annotated[float, Field(ge=0, description="weight of this part of the loss")]
Gamma = Annotated[float, Field(ge=0, description="how much what is easy counts less")]
Power = Annotated[Literal[1, 2], Field(description="power of the probabilities in the denominator")]


@dataclass(frozen=True)
class Prediction:
    """A network's output for one batch.

    Attributes:
        logits: `[B, N, *S]`; N = C for the head "multilabel", N = K for "softmax".
        head: name of the head.
        teacher: the teacher's logits, same shape, for terms that need a teacher.
        peer: the logits of a second network that learns beside this one, same shape.
        stream: uint8 `[B]`, position in `neoseg.labels.STREAMS` of each item.
        teacher_mean: mean probabilities of the teacher over several noisy passes, same shape, for
            terms that ask how sure it is.
        progress: share of the training that is done, for terms whose settings change with time.
    """

    logits: Tensor
    head: str
    teacher: Tensor | None = None
    stream: Tensor | None = None
    peer: Tensor | None = None
    teacher_mean: Tensor | None = None
    progress: float = 0.0


class LossTerm(nn.Module, ABC):
    """A loss on logits and codes.

    The settings of a term are the keyword arguments of its `__init__`, annotated so that a
    configuration can be checked against them; `Field(description=...)` explains them. The
    codebook's tables are buffers outside the state: a checkpoint does not carry them and loads
    under another codebook.
    """

    heads: ClassVar[frozenset[str]]
    """Names of the heads whose logits the term understands."""
    accepts_partial: ClassVar[bool] = True
    """Whether voxels known in part teach something. If not, the term leaves them out: a label
    that is missing is not background."""
    needs_teacher: ClassVar[bool] = False
    """Whether `Prediction.teacher` must be there."""
    needs_peer: ClassVar[bool] = False
    """Whether `Prediction.peer` must be there."""
    needs_passes: ClassVar[bool] = False
    """Whether `Prediction.teacher_mean` must be there."""
    ramp: ClassVar[Mapping[str, Any] | None] = None
    """How the weight grows where a run chooses the term by its name; a literal, which can be read
    without importing the term."""

    membership: Tensor
    members: Tensor
    class_leaves: Tensor
    certain: Tensor
    informed: Tensor

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        self.codebook = codebook
        rows = codebook.rows
        size = rows.sum(axis=1)
        informed = size < codebook.space.num_leaves
        # That a voxel lies in a class of all leaves is no news: unknown stays unknown.
        membership = np.where(informed[:, None], codebook.membership, np.int8(-1))
        self.add_table("membership", membership.T)  # [C, R] 1 in, 0 out, -1 open
        self.add_table("members", rows.T)  # [K, R] leaves that a code allows
        self.add_table("class_leaves", codebook.space.class_leaves)  # [C, K]
        self.add_table("certain", size == 1)  # [R] exactly one leaf
        self.add_table("informed", informed)  # [R] something is known

    @property
    def num_leaves(self) -> int:
        """K."""
        return self.codebook.space.num_leaves

    def add_table(self, name: str, values: np.ndarray) -> None:
        """Keep a table on the module's device, outside its state."""
        table = torch.from_numpy(np.array(values, order="C"))
        self.register_buffer(name, table, persistent=False)

    def forward(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss of `codes` uint8 `[B, *S]`, in float32 whatever the autocast.

        Raises:
            ValueError: shapes that do not fit, a head that the term does not know, or something
                missing from the prediction that the term needs.
        """
        self.check(prediction, codes)
        with torch.autocast(device_type=prediction.logits.device.type, enabled=False):
            loss = self.evaluate(prediction, codes)
        return full_precision(loss, prediction.logits)

    @abstractmethod
    def evaluate(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss; shapes are checked, autocast is off, logits are of any type."""

    def check(self, prediction: Prediction, codes: Tensor) -> None:
        """Raise `ValueError` where prediction or codes are not what the term needs."""
        name = type(self).__name__
        if prediction.head not in self.heads:
            raise ValueError(
                f"{name} works with the heads {', '.join(sorted(self.heads))}, found "
                f"'{prediction.head}'"
            )
        if codes.dtype != torch.uint8:
            raise ValueError(f"{name}: codes must be uint8, found {codes.dtype}")
        if not codes.numel():
            raise ValueError(f"{name}: the batch is empty: codes {tuple(codes.shape)}")
        channels = self.class_leaves.shape[0 if prediction.head == MULTILABEL else 1]
        wanted = (codes.shape[0], channels, *codes.shape[1:])
        if tuple(prediction.logits.shape) != wanted:
            raise ValueError(
                f"{name}: codes of shape {tuple(codes.shape)} under the head '{prediction.head}' "
                f"need logits of shape {wanted}, found {tuple(prediction.logits.shape)}"
            )
        if codes.device.type == "cpu" and int(codes.max()) >= self.codebook.size:
            # Elsewhere the program would wait for the answer.
            raise ValueError(
                f"{name}: codes go up to {int(codes.max())}, and the codebook has "
                f"{self.codebook.size}; encode label volumes by Targets"
            )
        for needed, field, why in (
            (self.needs_teacher, "teacher", "compares with a teacher"),
            (self.needs_peer, "peer", "compares with a second network"),
            (self.needs_passes, "teacher_mean", "asks how sure the teacher is"),
        ):
            other = getattr(prediction, field)
            if not needed:
                continue
            if other is None:
                raise ValueError(f"{name} {why}, but the prediction has none; pass {field}=")
            if other.shape != prediction.logits.shape:
                raise ValueError(
                    f"{name}: {field} must have the shape of the logits {wanted}, found "
                    f"{tuple(other.shape)}"
                )
        if prediction.stream is not None and prediction.stream.shape != codes.shape[:1]:
            raise ValueError(
                f"{name}: stream must have one number an item, ({len(codes)},), found "
                f"{tuple(prediction.stream.shape)}"
            )


class DenseTerm(LossTerm):
    """A loss that is computed on whole tensors by autograd, such as those with a teacher.

    It costs several tensors of the logits' size; where a loss is a sum over voxels, or a
    function of such sums, see `neoseg.losses.fused`.
    """

    def evaluate(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return `compute` on full precision, with teacher and peer cut off from the graph."""
        logits = prediction.logits

        def fixed(other: Tensor | None) -> Tensor | None:
            return None if other is None else full_precision(other.detach(), logits)

        full = replace(
            prediction,
            logits=full_precision(logits, logits),
            teacher=fixed(prediction.teacher),
            peer=fixed(prediction.peer),
            teacher_mean=fixed(prediction.teacher_mean),
        )
        return self.compute(full, codes)

    @abstractmethod
    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss; logits are float32 (or float64) and shapes are checked."""


def look_up(table: Tensor, codes: Tensor) -> Tensor:
    """Replace each code by its column: table `[X, R]`, codes `[B, *S]` -> `[B, X, *S]`.

    A table `[R]` gives `[B, *S]`.
    """
    found = table.index_select(-1, codes.flatten().int())
    return found.view(*table.shape[:-1], *codes.shape).movedim(table.dim() - 1, 0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` (same shape) holds; 0 with zero gradient where it never does.

    The arithmetic does not depend on the mask, so all ranks of a parallel run take one path.
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def full_precision(tensor: Tensor, logits: Tensor) -> Tensor:
    """Float64 where the logits are, else float32."""
    return tensor.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
