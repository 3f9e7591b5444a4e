"""The rules: each decides one key, and says why."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoseg.capacity import count_loaders
from neoseg.configuration.run import RunConfig
from neoseg.networks import divisors_of
from neoseg.planning.cost import Counted, count_of
from neoseg.planning.fingerprint import Fingerprint
from neoseg.planning.machine import Machine
from neoseg.planning.topology import (
    ANISOTROPY,
    SHORTEST,
    Shape,
    Topology,
    fitting,
    fixed,
    topology,
)
from neoseg.store.voxel_size import Size, shown

ORGAN = 80.0
"""Longest side in mm of scans that are crops already: a newborn's head is longer."""

CPU_PATCH, COARSEST = 16, 2.0
"""On a CPU voxels grow until a patch holds this part of a scan, and at most so many times."""

CPU_WIDTH, GPU_WIDTH = 16, 32
LARGEST_SHARE = 0.05
"""Of all training voxels that a batch may hold (nnU-Net)."""

MOST_ITEMS = 32
"""Of a batch on one device."""

CPU_PASSES, GPU_PASSES = 40, 250
"""Times that a training cuts as many patches as cover its scans."""

FEWEST, CPU_MOST, GPU_MOST = 1000, 10_000, 250_000
"""Steps of a training; on a CPU at most a night's or two, on a GPU at most nnU-Net's."""

EPOCHS = 20
VALIDATION = 0.2
"""Validations of a training, and time that one may take of its epoch's."""


@dataclass(frozen=True)
class Decision:
    """One key, its value and the reason."""

    key: str
    value: Any
    reason: str


def decide(
    run: RunConfig, found: Fingerprint, machine: Machine, given: Container[str]
) -> list[Decision]:
    """Return what is decided, in the order of a configuration; keys that are given stay.

    Args:
        run: with the values of the keys that are given.
        found: what is known of the data.
        machine: for which it is decided.
        given: keys that somebody has set, also as part of a group.
    """
    rules = _Rules(run, found, machine, given)
    return [decision for decision in rules.all() if decision.key not in given]


class _Rules:
    def __init__(
        self, run: RunConfig, found: Fingerprint, machine: Machine, given: Container[str]
    ) -> None:
        self.run, self.found, self.machine, self.given = run, found, machine, given
        precision = run.trainer.precision != "32-true"
        self.half = precision if "trainer.precision" in given else machine.gpu
        # Of each device. The same for most arms of a sweep, so that they train alike.
        self.items = math.ceil(max(2, found.streams) / machine.devices)
        self.counts: dict[str, tuple[Counted, int]] = {}

    def all(self) -> Iterator[Decision]:
        found, machine = self.found, self.machine
        crop, why_crop = self._crop()
        spacing, shape, tried, why_spacing = self._sizes(crop is not None)
        batch, why_batch = self._batch(shape, tried)
        per_epoch, epochs, why_steps = self._steps(shape, tried, batch)
        scaled = ("percentile", "a CT: its brightness means something and has outliers")
        normal = ("zscore", "an MRI: by mean and deviation of each scan (nnU-Net)")
        yield Decision("store.normalise", *(scaled if found.computed else normal))
        yield Decision("store.spacing", list(spacing), why_spacing)
        yield Decision("store.crop_margin", crop, why_crop)
        yield Decision("patches.size", list(tried.patch), self._why_patch(shape, tried))
        yield Decision("patches.batch_size", batch, why_batch)
        yield Decision("patches.steps_per_epoch", per_epoch, why_steps)
        loaders = count_loaders(machine.cores // machine.devices or 1, machine.gpu)
        why = "processes a device: its cores up to 8 beside a GPU, a quarter of them without"
        yield Decision("patches.workers", loaders, why)
        why = (
            f"{len(tried.strides)} levels: an axis is halved while it has {2 * SHORTEST} voxels "
            "and they are less than twice as long as the shortest (nnU-Net)"
        )
        network = self._network(tried)
        if "summed" in network["net"]:
            why += f"; heads of {found.leaves} classes at several of them, summed"
        yield Decision("network", network, why)
        if machine.gpu:
            why = "half the memory of float32, and faster on a GPU"
            yield Decision("trainer.precision", "bf16-mixed", why)
        why = f"{epochs} validations, each at most a fifth of the time of the steps before it"
        if "trainer.max_steps" not in self.given:
            yield Decision("trainer.max_epochs", epochs, why)
        why = "a thirtieth of the steps, at least 50; the rate then falls to 0 at the end"
        warmup = min(max(50, epochs * per_epoch // 30), epochs * per_epoch // 4)
        yield Decision("optimizer.warmup_steps", warmup, why)

    def _crop(self) -> tuple[float | None, str]:
        longest = float(max(np.median(self.found.fields, axis=0)))
        if longest < ORGAN and "store.crop_margin" not in self.given:
            return None, f"scans of {longest:.0f} mm are crops already: they are kept whole"
        return self.run.store.crop_margin, "around the head, where a scan shows more (nnU-Net)"

    def _sizes(self, cropped: bool) -> tuple[Size, Shape, Topology, str]:
        """Return the voxel size, the median shape in such voxels, and the patch."""
        found, start = self.found, self.found.voxel_size
        why = "mm, the median of the scans, each of which keeps its size where it can (nnU-Net)"
        if "store.spacing" in self.given:
            shape = found.shape(start, cropped)
            return start, shape, self._patch(shape, start), ""
        shape, axis = found.shape(start, cropped), int(np.argmax(start))
        others = [a for a in range(3) if a != axis]
        coarse = start[axis] > ANISOTROPY * max(start[a] for a in others)
        if coarse and shape[axis] * ANISOTROPY < min(shape[a] for a in others):
            # Of thick slices the finer ones, or they would be blurred further.
            thin = float(np.percentile([s[axis] for s in found.spacings], 10))
            thin = max(thin, *(start[a] for a in others))
            start = _size([round(thin, 3) if a == axis else start[a] for a in range(3)])
            why = f"mm, the median; across thick slices the finer tenth, {thin:.3g} mm (nnU-Net)"
        for times in (1.0, 1.25, 1.5, 1.75, COARSEST):
            spacing = _size([round(length * times, 3) for length in start])
            shape = found.shape(spacing, cropped)
            tried = self._patch(shape, spacing)
            if self.machine.gpu or math.prod(tried.patch) * CPU_PATCH >= math.prod(shape):
                break
        if times > 1:
            why = (
                f"mm, {times:g} times the scans' {shown(start)}: only so a patch that a CPU can "
                f"afford holds a {CPU_PATCH}th of a scan, as nnU-Net's low resolution a quarter"
            )
        return spacing, shape, tried, why

    def _patch(self, shape: Shape, spacing: Size) -> Topology:
        """Return the patch and its network, with what is given of them."""
        network = divisors_of(self.run.network) if "network" in self.given else None
        if "patches.size" in self.given:
            size = self.run.patches.size
            return topology(size, spacing, grow=False) if network is None else fixed(size, network)
        return fitting(shape, spacing, lambda tried: self._fits(tried, self.items), network)

    def _network(self, tried: Topology) -> dict[str, Any]:
        if "network" in self.given:
            return self.run.network
        width = GPU_WIDTH if self.machine.gpu else CPU_WIDTH
        return tried.network(width, self.machine.gpu, self.found.leaves)

    def _fits(self, tried: Topology, items: int) -> bool:
        """Tell whether a step can be afforded; costs go with the voxels."""
        network = self._network(tried)
        if str(network) not in self.counts:
            size = tried.patch
            if len(tried.strides) > 1:  # else the network is given, and may want this very patch
                size = _shape([2 * n for n in tried.divisors])
            images, leaves = self.found.images, self.found.leaves
            counted = count_of(network, images, leaves, size, self.run.allow)
            self.counts[str(network)] = counted, math.prod(size)
        counted, voxels = self.counts[str(network)]
        return self.machine.affords(
            counted.times(math.prod(tried.patch) / voxels), items, self.half
        )

    def _why_patch(self, shape: Shape, tried: Topology) -> str:
        part = min(1.0, math.prod(tried.patch) / math.prod(shape))
        limit = "memory" if self.machine.gpu else f"time of {self.machine.cores} cores"
        if part == 1:
            return f"the median scan of {list(shape)} voxels, as whole as the poolings allow"
        return f"{part:.0%} of the median scan of {list(shape)}: what the {limit} affords"

    def _batch(self, shape: Shape, tried: Topology) -> tuple[int, str]:
        if "patches.batch_size" in self.given:
            return self.run.patches.batch_size, ""
        least, devices = self.items, self.machine.devices
        voxels = LARGEST_SHARE * self.found.train * math.prod(shape) / math.prod(tried.patch)
        items = least
        while items < min(MOST_ITEMS, voxels / devices) and self._fits(tried, items + 1):
            items += 1
        kind = "one of each stream, and at least two" if items == least else "what a step affords"
        beside = "" if devices == 1 else f"; shared by {devices} devices"
        return items * devices, f"{kind}; at most a twentieth of all voxels (nnU-Net){beside}"

    def _steps(self, shape: Shape, tried: Topology, batch: int) -> tuple[int, int, str]:
        """Return steps of an epoch, epochs, and why."""
        found, patch = self.found, tried.patch
        cover = found.train * max(1.0, math.prod(shape) / math.prod(patch))
        passes = GPU_PASSES if self.machine.gpu else CPU_PASSES
        most = GPU_MOST if self.machine.gpu else CPU_MOST
        steps = min(max(FEWEST, round(passes * cover / batch)), most)
        why = (
            f"{found.train} scans are {cover:.0f} patches, {passes} times; {FEWEST} to {most} steps"
        )
        asked = self.run.trainer.max_steps
        if "trainer.max_steps" in self.given and asked is not None:
            steps, why = asked, "trainer.max_steps"
        stride = [max(1.0, n * (1 - self.run.window.overlap)) for n in patch]
        windows = found.val * math.prod(
            1 + math.ceil(max(0, n - p) / s) for n, p, s in zip(shape, patch, stride, strict=True)
        )
        # A prediction has one pass through the network where a step has three.
        least = math.ceil(windows / (3 * batch * VALIDATION))
        per_epoch = min(steps, max(math.ceil(steps / EPOCHS), least))
        if "patches.steps_per_epoch" in self.given:
            per_epoch = self.run.patches.steps_per_epoch
        epochs = math.ceil(steps / per_epoch)
        if "trainer.max_epochs" in self.given and self.run.trainer.max_epochs:
            epochs = self.run.trainer.max_epochs
        return per_epoch, epochs, why


def _size(values: Sequence[float]) -> Size:
    x, y, z = values
    return x, y, z


def _shape(values: Sequence[int]) -> Shape:
    x, y, z = values
    return x, y, z
