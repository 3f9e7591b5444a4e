"""Base classes of loss terms: inputs, the codebook's tables, and float32 arithmetic."""

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
            terms that use its uncertainty.
        progress: completed fraction of the training, for terms whose settings change over time.
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
    codebook's tables are non-persistent buffers: a checkpoint does not contain them and can be
    loaded with another codebook.
    """

    heads: ClassVar[frozenset[str]]
    """Names of the heads whose logits the term accepts."""
    accepts_partial: ClassVar[bool] = True
    """Whether the term learns from partially known voxels. If not, it leaves them out: a missing
    label is not background."""
    needs_teacher: ClassVar[bool] = False
    """Whether `Prediction.teacher` is required."""
    needs_peer: ClassVar[bool] = False
    """Whether `Prediction.peer` is required."""
    needs_passes: ClassVar[bool] = False
    """Whether `Prediction.teacher_mean` is required."""
    ramp: ClassVar[Mapping[str, Any] | None] = None
    """Ramp of the weight when a run chooses the term by name alone; a literal, so that it can be
    read without importing the term."""

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
        # A class of all leaves contains even an unknown voxel, which still counts as open there.
        membership = np.where(informed[:, None], codebook.membership, np.int8(-1))
        self.add_table("membership", membership.T)  # [C, R] 1 in, 0 out, -1 open
        self.add_table("members", rows.T)  # [K, R] leaves that a code allows
        self.add_table("class_leaves", codebook.space.class_leaves)  # [C, K]
        self.add_table("certain", size == 1)  # [R] exactly one leaf
        self.add_table("informed", informed)  # [R] something is known

    @property
    def num_leaves(self) -> int:
        """Number of leaves K."""
        return self.codebook.space.num_leaves

    def add_table(self, name: str, values: np.ndarray) -> None:
        """Register a table as a non-persistent buffer, which follows the module's device."""
        table = torch.from_numpy(np.array(values, order="C"))
        self.register_buffer(name, table, persistent=False)

    def forward(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss for `codes` uint8 `[B, *S]`, in full precision despite autocast.

        Raises:
            ValueError: shapes do not match, the term does not accept the head, or the prediction
                lacks an input that the term needs.
        """
        self.check(prediction, codes)
        with torch.autocast(device_type=prediction.logits.device.type, enabled=False):
            loss = self.evaluate(prediction, codes)
        return full_precision(loss, prediction.logits)

    @abstractmethod
    def evaluate(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss; shapes are checked, autocast is off, logits are of any type."""

    def check(self, prediction: Prediction, codes: Tensor) -> None:
        """Raise `ValueError` if prediction or codes are not what the term needs."""
        name = type(self).__name__
        if prediction.head not in self.heads:
            raise ValueError(
                f"{name} works with the heads {', '.join(sorted(self.heads))}, found "
                f"'{prediction.head}'"
            )
        if not isinstance(codes, Tensor):
            kind = type(codes).__name__
            raise ValueError(f"{name}: codes must be a tensor, found {kind}; use torch.from_numpy")
        if codes.dtype != torch.uint8:
            raise ValueError(f"{name}: codes must be uint8, found {codes.dtype}")
        if not codes.numel():
            raise ValueError(f"{name}: the batch is empty: codes {tuple(codes.shape)}")
        channels = self.class_leaves.shape[0 if prediction.head == MULTILABEL else 1]
        expected = (codes.shape[0], channels, *codes.shape[1:])
        if tuple(prediction.logits.shape) != expected:
            raise ValueError(
                f"{name}: codes of shape {tuple(codes.shape)} under the head '{prediction.head}' "
                f"need logits of shape {expected}, found {tuple(prediction.logits.shape)}"
            )
        if codes.device.type == "cpu" and int(codes.max()) >= self.codebook.size:
            # On other devices reading the maximum would block the host.
            raise ValueError(
                f"{name}: codes go up to {int(codes.max())}, and the codebook has "
                f"{self.codebook.size}; encode label volumes by Targets"
            )
        for needed, field, reason in (
            (self.needs_teacher, "teacher", "compares with a teacher"),
            (self.needs_peer, "peer", "compares with a second network"),
            (self.needs_passes, "teacher_mean", "asks how sure the teacher is"),
        ):
            value = getattr(prediction, field)
            if not needed:
                continue
            if value is None:
                raise ValueError(f"{name} {reason}, but the prediction has none; pass {field}=")
            if value.shape != prediction.logits.shape:
                raise ValueError(
                    f"{name}: {field} must have the shape of the logits {expected}, found "
                    f"{tuple(value.shape)}"
                )
        if prediction.stream is not None and prediction.stream.shape != codes.shape[:1]:
            raise ValueError(
                f"{name}: stream must have one number an item, ({len(codes)},), found "
                f"{tuple(prediction.stream.shape)}"
            )


class DenseTerm(LossTerm):
    """A loss that autograd computes on whole tensors, such as those with a teacher.

    It needs several tensors of the logits' size. For losses that are a sum over voxels, or a
    function of such sums, see `neoseg.losses.fused`.
    """

    def evaluate(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return `compute` in full precision, with teacher and peer detached from the graph."""
        logits = prediction.logits

        def detached(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else full_precision(tensor.detach(), logits)

        full = replace(
            prediction,
            logits=full_precision(logits, logits),
            teacher=detached(prediction.teacher),
            peer=detached(prediction.peer),
            teacher_mean=detached(prediction.teacher_mean),
        )
        return self.compute(full, codes)

    @abstractmethod
    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss; logits are float32 (or float64) and shapes are checked."""


def look_up(table: Tensor, codes: Tensor) -> Tensor:
    """Replace each code by its column: table `[X, R]`, codes `[B, *S]` -> `[B, X, *S]`.

    A table `[R]` gives `[B, *S]`.
    """
    columns = table.index_select(-1, codes.flatten().int())
    return columns.view(*table.shape[:-1], *codes.shape).movedim(table.dim() - 1, 0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask` (same shape) is true; 0 with zero gradient if empty.

    The operations do not depend on the mask, so all ranks of a distributed run take the same path.
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def full_precision(tensor: Tensor, logits: Tensor) -> Tensor:
    """Return `tensor` in float64 if the logits are, else in float32."""
    return tensor.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
