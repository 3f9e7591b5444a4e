"""The same passes in C, for float32 on a CPU: compiled on first use, on ranges, in threads."""

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
_RANGE = 2**15
"""Voxels of one call. It does not depend on the number of threads, and so neither do the sums."""


def usable(logits: Tensor, wanted: tuple[str, ...]) -> bool:
    """Whether the kernels can do it: float32 on a CPU, sums that they know, and a compiler."""
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
    """Logits `[B, N, V]` and codes `[B, V]`, contiguous, and what all kernels take."""

    logits: Tensor
    codes: Tensor

    @property
    def width(self) -> int:
        """Channels, and what fills up the last lanes."""
        return -(-self.logits.shape[1] // _LANES) * _LANES

    def ranges(self) -> list[tuple[int, int, int]]:
        """(item, first voxel, voxel after the last)."""
        batch, _, voxels = self.logits.shape
        return [
            (item, start, min(start + _RANGE, voxels))
            for item in range(batch)
            for start in range(0, voxels, _RANGE)
        ]

    def head(self, item: int, first: int, last: int) -> tuple[object, ...]:
        """Arguments that all kernels begin with."""
        _, channels, voxels = self.logits.shape
        numbers = map(ctypes.c_int64, (voxels, first, last, channels, self.width))
        return address(self.logits[item]), address(self.codes[item]), *numbers

    def table(self, values: Tensor) -> Tensor:
        """Float32 `[..., R, width]` from `[..., N, R]`."""
        rows = values.transpose(-1, -2).float()
        return torch.nn.functional.pad(rows, (0, self.width - rows.shape[-1])).contiguous()

    def run(self, name: str, arguments: Callable[[int, int], tuple[object, ...]]) -> None:
        """Call the kernel `name` for all ranges; arguments(number of the range, item) follow."""
        kernel = getattr(_kernels(), name)

        def work(number: int, place: tuple[int, int, int]) -> int:
            return int(kernel(*self.head(*place), *arguments(number, place[0])))

        ranges = self.ranges()
        threads = min(torch.get_num_threads(), len(ranges))
        over = map if threads < 2 else _pool(threads).map
        if any(list(over(work, range(len(ranges)), ranges))):
            raise MemoryError("no memory for the sums of a loss; use a smaller patch or batch")

    def by_item(self, totals: Tensor) -> Tensor:
        """Add the ranges of each item: `[ranges, ...]` -> `[B, ...]`."""
        each = len(totals) // len(self.logits)
        return totals.view(len(self.logits), each, *totals.shape[1:]).sum(1)


@dataclass(frozen=True)
class NativeSoftmax:
    """The passes of a softmax head; members bool `[K, R]`."""

    members: Tensor

    def _sets(self, call: _Call) -> tuple[Tensor, Tensor]:
        informed = (~self.members.all(0)).to(torch.uint8)
        return call.table(self.members), informed

    def sums(
        self, logits: Tensor, codes: Tensor, wanted: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the sums, and log-sum-exp `[B, V]` and log P `[B, V]` (empty if not needed)."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sets, informed = self._sets(call)
        batch, channels, voxels = logits.shape
        with_mass = "cross_entropy" in wanted or "squared_mass" in wanted
        log_total = torch.empty(batch, voxels)
        log_mass = torch.empty(batch, voxels if with_mass else 0)
        ranges, num_codes = len(call.ranges()), self.members.shape[1]
        shape = {True: (ranges, num_codes, call.width), False: (ranges, num_codes)}
        parts = {name: torch.zeros(shape[name in _TABLES], dtype=torch.float64) for name in wanted}

        def arguments(number: int, item: int) -> tuple[object, ...]:
            return (
                ctypes.c_int64(num_codes),
                address(sets),
                address(informed),
                *(address(parts[name][number] if name in parts else None) for name in _SOFTMAX),
                address(log_total[item]),
                address(log_mass[item] if with_mass else None),
            )

        call.run("softmax_sums", arguments)
        sums = {name: call.by_item(value) for name, value in parts.items()}
        for name in _TABLES & sums.keys():
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
        """Return the gradient of the logits from that of the sums."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sets, informed = self._sets(call)
        tables = {
            name: call.table(value) if name in _TABLES else value.float().contiguous()
            for name, value in slope.items()
        }
        gradient = empty_gradient(logits)

        def arguments(number: int, item: int) -> tuple[object, ...]:
            return (
                address(sets),
                address(informed),
                *(address(tables[name][item] if name in tables else None) for name in _SOFTMAX),
                address(log_total[item]),
                address(log_mass[item] if log_mass.numel() else None),
                address(gradient[item]),
            )

        call.run("softmax_gradient", arguments)
        return gradient


@dataclass(frozen=True)
class NativeSigmoid:
    """The passes of a multi-label head; membership int8 `[C, R]`."""

    membership: Tensor

    def _sign(self, call: _Call) -> Tensor:
        side = 2 * self.membership.float() - 1
        return call.table(side.masked_fill(self.membership < 0, 0.0))

    def sums(
        self, logits: Tensor, codes: Tensor, wanted: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the sums; nothing is kept for the gradient."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sign, num_codes = self._sign(call), self.membership.shape[1]
        shape = (len(call.ranges()), num_codes, call.width)
        parts = {name: torch.zeros(shape, dtype=torch.float64) for name in wanted}

        def arguments(number: int, _: int) -> tuple[object, ...]:
            return (
                ctypes.c_int64(num_codes),
                address(sign),
                *(address(parts[name][number] if name in parts else None) for name in _SIGMOID),
            )

        call.run("sigmoid_sums", arguments)
        channels = logits.shape[1]
        sums = {n: call.by_item(v)[..., :channels].transpose(-1, -2) for n, v in parts.items()}
        return sums, []

    def gradient(self, logits: Tensor, codes: Tensor, slope: Mapping[str, Tensor]) -> Tensor:
        """Return the gradient of the logits from that of the sums."""
        call = _Call(logits.contiguous(), codes.contiguous())
        sign = self._sign(call)
        nothing = torch.zeros(len(logits), *self.membership.shape)
        tables = {name: call.table(slope.get(name, nothing)) for name in _SIGMOID}
        gradient = empty_gradient(logits)

        def arguments(number: int, item: int) -> tuple[object, ...]:
            return (
                address(sign),
                *(address(tables[name][item]) for name in _SIGMOID),
                address(gradient[item]),
            )

        call.run("sigmoid_gradient", arguments)
        return gradient


_SOFTMAX = ("probability", "squared", "cross_entropy", "squared_mass")
_SIGMOID = ("probability", "squared", "cross_entropy")
_TABLES = frozenset({"probability", "squared"})
"""Sums of a softmax head that have a value for each class."""


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "neoseg-loss")
