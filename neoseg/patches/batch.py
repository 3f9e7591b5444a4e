"""Batches of training patches, and their transfer between processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from neoseg.accelerator import sent_beside
from neoseg.augment.appearance import Appearance, apply_appearances
from neoseg.borrowed import empty_shared

ALIGNMENT = 64
"""Alignment in bytes of each tensor within a packed batch."""


@dataclass(frozen=True)
class Batch:
    """Patches of one step.

    Attributes:
        image: float32 `[B, M, X, Y, Z]`, as the student sees it.
        codes: uint8 `[B, X, Y, Z]`, rows of the run's codebook.
        stream: uint8 `[B]`, position in `neoseg.labels.STREAMS`.
        scan: int64 `[B]`, index of the scan among the training scans.
        teacher_image: the same geometry with another draw of intensity augmentation; None unless a
            loss term needs a teacher.
        noise_seed: int64 `[B]`, set with `teacher_image`: seeds of the noise in further passes of
            the teacher, a function of (seed, step, item) like the patch.
        present: bool `[B, M]`, which images the networks may see, student and teacher alike; None
            unless a run has several modalities and fills in missing ones.
        appearances, teacher_appearances: changes still to be applied to `image`, which then is the
            patch as it was cut, item by item; see `with_intensities`.
    """

    image: Tensor
    codes: Tensor
    stream: Tensor
    scan: Tensor
    teacher_image: Tensor | None = None
    noise_seed: Tensor | None = None
    present: Tensor | None = None
    appearances: tuple[Appearance, ...] | None = None
    teacher_appearances: tuple[Appearance, ...] | None = None

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Move every tensor, as `Tensor.to`, except the seeds, which would be slow to read back."""
        return self._moved(lambda tensor: tensor.to(*args, **kwargs))

    def sent(self, device: torch.device) -> Batch:
        """Move as `to`, from pinned memory, while the GPU is still computing the previous step."""
        return self._moved(lambda tensor: sent_beside(tensor, device))

    def _moved(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self.map_tensors(function), noise_seed=self.noise_seed)

    def pin_memory(self) -> Batch:
        """Pin every tensor for asynchronous copies to an accelerator."""
        return self.map_tensors(Tensor.pin_memory)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to every tensor that it has."""
        members = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {
            k: function(v) for k, v in members.items() if isinstance(v, Tensor)
        }
        return replace(self, **tensors)

    def with_intensities(self) -> Batch:
        """Return the batch with its appearances applied, on its current device."""
        if self.appearances is None:
            return self
        teacher = self.teacher_image
        if self.teacher_appearances is not None:
            teacher = apply_appearances(self.image, self.codes, self.teacher_appearances)
        image = apply_appearances(self.image, self.codes, self.appearances)
        return replace(
            self, image=image, teacher_image=teacher, appearances=None, teacher_appearances=None
        )

    def __len__(self) -> int:
        return self.image.shape[0]


def collate(items: Sequence[Batch]) -> Batch | PackedBatch:
    """Concatenate single-item batches; in a loader process, pack them into shared memory."""
    columns: dict[str, list[Any]] = {
        f.name: [getattr(item, f.name) for item in items] for f in fields(Batch)
    }
    present = {name: v for name, v in columns.items() if all(value is not None for value in v)}
    tensors = {name: v for name, v in present.items() if isinstance(v[0], Tensor)}
    others: dict[str, Any] = {
        name: sum(v, start=()) for name, v in present.items() if name not in tensors
    }
    if get_worker_info() is not None:
        return PackedBatch.of(tensors, others)
    joined: dict[str, Any] = {name: torch.cat(values) for name, values in tensors.items()}
    return Batch(**joined, **others)


Place = tuple[str, int, torch.dtype, tuple[int, ...]]
"""Field, first byte, dtype and shape of a tensor within a block."""


@dataclass(frozen=True)
class PackedBatch:
    """A batch that leaves a loader process; unpickling it yields a `Batch`.

    All tensors are in one block of shared memory. Handing over a block takes a dialogue between
    both processes, for which a loader has to interrupt the next patch; with four or five blocks
    per batch, that costs a third of the time of the patches.

    Attributes:
        block: uint8 `[bytes]`.
        places: of the tensors in it.
        others: fields of the batch that are not tensors.
    """

    block: Tensor
    places: tuple[Place, ...]
    others: dict[str, Any]

    @classmethod
    def of(cls, tensors: Mapping[str, Sequence[Tensor]], others: dict[str, Any]) -> PackedBatch:
        """Concatenate the tensors of each field in shared memory.

        This happens where patches are made: the thread that sends them might still be doing it when
        the process exits, which C++ answers with an abort.
        """
        places: list[Place] = []
        end = 0
        for name, values in tensors.items():
            shape = sum(map(len, values)), *values[0].shape[1:]
            places.append((name, end, values[0].dtype, shape))
            size = sum(value.nbytes for value in values)
            end += -(-size // ALIGNMENT) * ALIGNMENT
        block = empty_shared(end)
        for place in places:
            torch.cat(tuple(tensors[place[0]]), out=_view(block, place))
        return cls(block, tuple(places), others)

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[Any, ...]]:
        return _unpack, (self.block, self.places, self.others)


def _unpack(block: Tensor, places: tuple[Place, ...], others: dict[str, Any]) -> Batch:
    tensors: dict[str, Any] = {place[0]: _view(block, place) for place in places}
    return Batch(**tensors, **others)


def _view(block: Tensor, place: Place) -> Tensor:
    _, start, dtype, shape = place
    return block[start : start + prod(shape) * dtype.itemsize].view(dtype).view(shape)
