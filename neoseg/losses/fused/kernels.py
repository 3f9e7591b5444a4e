"""The passes in C for float32 on a CPU, compiled on first use and run on ranges in threads."""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping
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
class NativePasses:
    """The passes of a head in C.

    Attributes:
        name: of the head, with which those of its kernels begin.
        by_channel: its sums with one value per channel, in the order of the kernels' arguments.
        by_code: those with one value per code, which follow.
        tables: maps a call and the table of the head `[N, R]` to the tables of the kernels.
    """

    name: str
    by_channel: tuple[str, ...]
    by_code: tuple[str, ...]
    tables: Callable[[_Call, Tensor], tuple[Tensor, ...]]

    def sums(
        self, logits: Tensor, codes: Tensor, table: Tensor, wanted: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the sums, and the values `[B, V]` for the gradient (empty if not needed)."""
        call, num_codes = _Call(logits.contiguous(), codes.contiguous()), table.shape[1]
        tables, (batch, channels, voxels) = self.tables(call, table), logits.shape
        parts = {}
        for name in wanted:
            shape = (len(call.ranges()), num_codes, *[call.width] * (name in self.by_channel))
            parts[name] = torch.zeros(shape, dtype=torch.float64)
        lengths = (voxels, voxels * any(name in self.by_code for name in wanted))
        saved = [torch.empty(batch, length) for length in lengths if self.by_code]

        def arguments(number: int, item: int) -> tuple[object, ...]:
            pointers = (*map(address, tables), *self._at(parts, number), *_at(saved, item))
            return ctypes.c_int64(num_codes), *pointers

        call.run(f"{self.name}_sums", arguments)
        sums = {name: call.by_item(value) for name, value in parts.items()}
        for name in sums.keys() & {*self.by_channel}:
            sums[name] = sums[name][..., :channels].transpose(-1, -2)
        return sums, saved

    def gradient(
        self,
        logits: Tensor,
        codes: Tensor,
        table: Tensor,
        slope: Mapping[str, Tensor],
        *saved: Tensor,
    ) -> Tensor:
        """Return the gradient of the logits, given the gradient `slope` of the sums."""
        call = _Call(logits.contiguous(), codes.contiguous())
        tables, gradient = self.tables(call, table), empty_gradient(logits)
        if not self.by_code:  # these kernels read all slopes
            zeros = torch.zeros(len(logits), *table.shape)
            slope = {**dict.fromkeys(self.by_channel, zeros), **slope}
        slopes = {
            name: call.table(value) if name in self.by_channel else value.float().contiguous()
            for name, value in slope.items()
        }

        def arguments(_: int, item: int) -> tuple[object, ...]:
            pointers = (*map(address, tables), *self._at(slopes, item), *_at(saved, item))
            return *pointers, address(gradient[item])

        call.run(f"{self.name}_gradient", arguments)
        return gradient

    def _at(self, values: Mapping[str, Tensor], number: int) -> Iterator[object]:
        for name in (*self.by_channel, *self.by_code):
            yield address(values[name][number] if name in values else None)


def _at(values: Iterable[Tensor], item: int) -> Iterator[object]:
    return (address(value[item] if value.numel() else None) for value in values)


def _softmax_tables(call: _Call, members: Tensor) -> tuple[Tensor, ...]:
    return call.table(members), (~members.all(0)).to(torch.uint8)


def _sigmoid_tables(call: _Call, membership: Tensor) -> tuple[Tensor, ...]:
    sign = 2 * membership.float() - 1
    return (call.table(sign.masked_fill(membership < 0, 0.0)),)


MASS_SUMS = ("cross_entropy", "squared_mass")
"""Sums per code of functions of P, the probability of a voxel's label set: -log P and P^2."""

NATIVE_SOFTMAX = NativePasses("softmax", ("probability", "squared"), MASS_SUMS, _softmax_tables)
NATIVE_SIGMOID = NativePasses(
    "sigmoid", ("probability", "squared", "cross_entropy"), (), _sigmoid_tables
)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "neoseg-loss")
