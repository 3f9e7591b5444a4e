"""The passes in C for float32 on a CPU, compiled on first use and run on ranges in threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from neoseg.c_code import REORDERED, address, load
from neoseg.losses.fused.slabs import empty_gradient

_SOURCE = Path(__file__).with_name("kernels.c")

_LANES = 8
"""Values in a vector of the kernels; channels are padded to a multiple of it."""

_RANGE = 2**15
"""Voxels per kernel call, independent of the number of threads, so that the sums are as well."""


def usable(logits: Tensor, wanted: tuple[str, ...]) -> bool:
    """Return whether the kernels apply: float32 on a CPU, supported sums, and a C compiler."""
    return (
        logits.device.type == "cpu"
        and logits.dtype == torch.float32
        and "log1p" not in wanted
        and _kernels() is not None
    )


def _kernels() -> ctypes.CDLL | None:
    return load(_SOURCE, REORDERED)


@dataclass(frozen=True)
class _Call:
    """Contiguous logits `[B, N, V]` and codes `[B, V]`, and the arguments common to all kernels."""

    logits: Tensor
    codes: Tensor

    @property
    def width(self) -> int:
        """Number of channels, padded to whole vectors."""
        return -(-self.logits.shape[1] // _LANES) * _LANES

    def ranges(self) -> list[tuple[int, int, int]]:
        """Return (item, first voxel, voxel after the last) of each kernel call."""
        batch, _, voxels = self.logits.shape
        return [
            (item, start, min(start + _RANGE, voxels))
            for item in range(batch)
            for start in range(0, voxels, _RANGE)
        ]

    def head(self, item: int, first: int, last: int) -> tuple[object, ...]:
        """Return the leading arguments of all kernels."""
        _, channels, voxels = self.logits.shape
        numbers = map(ctypes.c_int64, (voxels, first, last, channels, self.width))
        return address(self.logits[item]), address(self.codes[item]), *numbers

    def table(self, values: Tensor) -> Tensor:
        """Transpose and pad `[..., N, R]` to float32 `[..., R, width]`."""
        rows = values.transpose(-1, -2).float()
        return torch.nn.functional.pad(rows, (0, self.width - rows.shape[-1])).contiguous()

    def run(self, name: str, arguments: Callable[[int, int], tuple[object, ...]]) -> None:
        """Call the kernel `name` on all ranges, with `arguments(number of the range, item)` last.

        Raises:
            MemoryError: a kernel could not allocate its sums.
        """
        kernel = getattr(_kernels(), name)

        def work(number: int, bounds: tuple[int, int, int]) -> int:
            return int(kernel(*self.head(*bounds), *arguments(number, bounds[0])))

        ranges = self.ranges()
        threads = min(torch.get_num_threads(), len(ranges))
        mapper = map if threads < 2 else _pool(threads).map
        if any(list(mapper(work, range(len(ranges)), ranges))):
            raise MemoryError("no memory for the sums of a loss; use a smaller patch or batch")

    def by_item(self, totals: Tensor) -> Tensor:
        """Sum over the ranges of each item: `[ranges, ...]` -> `[B, ...]`."""
        per_item = len(totals) // len(self.logits)
        return totals.view(len(self.logits), per_item, *totals.shape[1:]).sum(1)


@dataclass(frozen=True)
class NativeSoftmax:
    """The passes of a softmax head; `members` is bool `[K, R]`."""

    members: Tensor

    def _sets(self, call: _Call) -> tuple[Tensor, Tensor]:
        informed = (~self.members.all(0)).to(torch.uint8)
        return call.table(self.members), informed

    def sums(
        self, logits: Tensor, codes: Tensor, wanted: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the sums, and log-sum-exp `[B, V]` with log P `[B, V]` (empty if not needed)."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sets, informed = self._sets(call)
        batch, channels, voxels = logits.shape
        with_mass = "cross_entropy" in wanted or "squared_mass" in wanted
        log_total = torch.empty(batch, voxels)
        log_mass = torch.empty(batch, voxels if with_mass else 0)
        ranges, num_codes = len(call.ranges()), self.members.shape[1]
        shapes = {True: (ranges, num_codes, call.width), False: (ranges, num_codes)}
        parts = {
            name: torch.zeros(shapes[name in _PER_CHANNEL], dtype=torch.float64) for name in wanted
        }

        def arguments(number: int, item: int) -> tuple[object, ...]:
            return (
                ctypes.c_int64(num_codes),
                address(sets),
                address(informed),
                *(
                    address(parts[name][number] if name in parts else None)
                    for name in _SOFTMAX_SUMS
                ),
                address(log_total[item]),
                address(log_mass[item] if with_mass else None),
            )

        call.run("softmax_sums", arguments)
        sums = {name: call.by_item(value) for name, value in parts.items()}
        for name in _PER_CHANNEL & sums.keys():
            sums[name] = sums[name][..., :channels].transpose(-1, -2)
        return sums, [log_total, log_mass]

    def gradient(
        self,
        logits: Tensor,
        codes: Tensor,
        slope: Mapping[str, Tensor],
        log_total: Tensor,
        log_mass: Tensor,
    ) -> Tensor:
        """Return the gradient of the logits, given the gradient `slope` of the sums."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sets, informed = self._sets(call)
        tables = {
            name: call.table(value) if name in _PER_CHANNEL else value.float().contiguous()
            for name, value in slope.items()
        }
        gradient = empty_gradient(logits)

        def arguments(number: int, item: int) -> tuple[object, ...]:
            return (
                address(sets),
                address(informed),
                *(
                    address(tables[name][item] if name in tables else None)
                    for name in _SOFTMAX_SUMS
                ),
                address(log_total[item]),
                address(log_mass[item] if log_mass.numel() else None),
                address(gradient[item]),
            )

        call.run("softmax_gradient", arguments)
        return gradient


@dataclass(frozen=True)
class NativeSigmoid:
    """The passes of a multi-label head; `membership` is int8 `[C, R]`."""

    membership: Tensor

    def _sign(self, call: _Call) -> Tensor:
        sign = 2 * self.membership.float() - 1
        return call.table(sign.masked_fill(self.membership < 0, 0.0))

    def sums(
        self, logits: Tensor, codes: Tensor, wanted: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the sums, and an empty list, since the gradient needs no saved values."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sign, num_codes = self._sign(call), self.membership.shape[1]
        shape = (len(call.ranges()), num_codes, call.width)
        parts = {name: torch.zeros(shape, dtype=torch.float64) for name in wanted}

        def arguments(number: int, _: int) -> tuple[object, ...]:
            return (
                ctypes.c_int64(num_codes),
                address(sign),
                *(
                    address(parts[name][number] if name in parts else None)
                    for name in _SIGMOID_SUMS
                ),
            )

        call.run("sigmoid_sums", arguments)
        channels = logits.shape[1]
        sums = {n: call.by_item(v)[..., :channels].transpose(-1, -2) for n, v in parts.items()}
        return sums, []

    def gradient(self, logits: Tensor, codes: Tensor, slope: Mapping[str, Tensor]) -> Tensor:
        """Return the gradient of the logits, given the gradient `slope` of the sums."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sign = self._sign(call)
        zeros = torch.zeros(len(logits), *self.membership.shape)
        tables = {name: call.table(slope.get(name, zeros)) for name in _SIGMOID_SUMS}
        gradient = empty_gradient(logits)

        def arguments(number: int, item: int) -> tuple[object, ...]:
            return (
                address(sign),
                *(address(tables[name][item]) for name in _SIGMOID_SUMS),
                address(gradient[item]),
            )

        call.run("sigmoid_gradient", arguments)
        return gradient


_SOFTMAX_SUMS = ("probability", "squared", "cross_entropy", "squared_mass")
_SIGMOID_SUMS = ("probability", "squared", "cross_entropy")
_PER_CHANNEL = frozenset({"probability", "squared"})
"""Sums of a softmax head that have one value per channel; the others have one per code."""


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "neoseg-loss")
