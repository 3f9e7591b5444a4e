"""Planning rules: each sets one key and gives the reason."""

import math
from collections.abc import Container, Iterator
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
    triple,
)
from neoseg.store.checks import shown
from neoseg.store.voxel_size import Size

MAX_CROP_LENGTH = 80.0
"""Scans shorter than this in mm are taken as cropped already: a newborn's head is longer."""

MIN_BENT_LENGTH = 45.0
"""Scans shorter than this in mm, such as those of mice, are bent less in proportion; the
hippocampi on which the default was measured are 50 mm long."""

CPU_COVERAGE, MAX_COARSENING = 16, 2.0
"""On a CPU, voxels are enlarged by up to `MAX_COARSENING` until a patch covers at least a
`CPU_COVERAGE`th of a scan."""

CPU_WIDTH, GPU_WIDTH = 16, 32
"""Channels of the first level of the network."""

MAX_BATCH_SHARE = 0.05
"""Largest share of all training voxels in a batch (nnU-Net)."""

MAX_ITEMS = 32
"""Largest number of items per device."""

CPU_PASSES, GPU_PASSES = 40, 250
"""Passes over the training scans, each with as many patches as are needed to cover them."""

MIN_STEPS, CPU_MAX_STEPS, GPU_MAX_STEPS = 1000, 10_000, 250_000
"""Limits of the training steps: a night or two on a CPU, as many as nnU-Net on a GPU."""

VALIDATIONS = 20
VALIDATION_SHARE = 0.2
"""Number of validations, and maximum duration of one relative to the training of its epoch."""


@dataclass(frozen=True)
class Decision:
    """A planned key with its value and the reason."""

    key: str
    value: Any
    reason: str


def decide(
    run: RunConfig, found: Fingerprint, machine: Machine, given: Container[str]
) -> list[Decision]:
    """Return the decisions in configuration order; given keys are not changed.

    Args:
        run: configuration with the values of the given keys.
        found: fingerprint of the data.
        machine: machine to train on.
        given: keys that are set explicitly, also as part of a group.
    """
    rules = _Rules(run, found, machine, given)
    return [decision for decision in rules.all() if decision.key not in given]


class _Rules:
    def __init__(
        self, run: RunConfig, data: Fingerprint, machine: Machine, given: Container[str]
    ) -> None:
        self.run, self.data, self.machine, self.given = run, data, machine, given
        mixed_precision = run.trainer.precision != "32-true"
        self.half = mixed_precision if "trainer.precision" in given else machine.gpu
        # Minimum items per device: the same for most arms of a sweep, so that they are comparable.
        self.items = math.ceil(max(2, data.streams) / machine.devices)
        self.counts: dict[str, tuple[Counted, int]] = {}

    def all(self) -> Iterator[Decision]:
        data, machine = self.data, self.machine
        longest = float(max(np.median(data.fields, axis=0)))
        crop, why_crop = self._crop(longest)
        spacing, shape, unet, why_spacing = self._sizes(crop is not None)
        batch, why_batch = self._batch(shape, unet)
        per_epoch, epochs, why_steps = self._steps(shape, unet, batch)
        yield from self._brightness()
        yield Decision("store.spacing", list(spacing), why_spacing)
        yield Decision("store.crop_margin", crop, why_crop)
        yield Decision("patches.size", list(unet.patch), self._why_patch(shape, unet))
        yield Decision("patches.batch_size", batch, why_batch)
        yield Decision("patches.steps_per_epoch", per_epoch, why_steps)
        loaders = count_loaders(machine.cores // machine.devices or 1, machine.gpu)
        why = "processes a device: its cores up to 8 beside a GPU, a quarter of them without"
        yield Decision("patches.workers", loaders, why)
        if (spatial := self.run.augment.spatial) and longest < MIN_BENT_LENGTH:
            why = f"mm, in proportion to scans of {longest:.3g} mm"
            for key in ("elastic", "elastic_grid"):
                length = float(f"{getattr(spatial, key) * longest / MIN_BENT_LENGTH:.2g}")
                yield Decision(f"augment.spatial.{key}", length, why)
        why = (
            f"{len(unet.strides)} levels: an axis is halved while it has {2 * SHORTEST} voxels "
            "and they are less than twice as long as the shortest (nnU-Net)"
        )
        network = self._network(unet)
        if "summed" in network["net"]:
            why += f"; heads of {data.leaves} classes at several of them, summed"
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

    def _brightness(self) -> Iterator[Decision]:
        key, found = "store.normalise", self.data.computed
        if found is None:
            why = "by mean and deviation of each scan, as nnU-Net does unless all are CTs"
            yield Decision(key, "zscore", why)
        elif self.data.images > 1:
            why = "CTs among other images: no window fits all, so each is scaled by its own values"
            yield Decision(key, "percentile", why)
        elif found.window is None:
            why = "CTs that are not in Hounsfield units, and no labels to find a window by"
            yield Decision(key, "percentile", why)
        else:
            yield Decision(key, "window", "CTs: intensities mean the same in all scans (nnU-Net)")
            why = f"0.5 and 99.5 % of what is labelled in {found.labelled} training scans (nnU-Net)"
            no_labels = "from air to bone, since nothing is labelled"
            yield Decision("store.window", list(found.window), why if found.labelled else no_labels)

    def _crop(self, longest: float) -> tuple[float | None, str]:
        if longest < MAX_CROP_LENGTH and "store.crop_margin" not in self.given:
            return None, f"scans of {longest:.0f} mm are crops already: they are kept whole"
        return self.run.store.crop_margin, "around the head, where a scan shows more (nnU-Net)"

    def _sizes(self, cropped: bool) -> tuple[Size, Shape, Topology, str]:
        """Return the voxel size, the median shape in these voxels, the patch, and the reason."""
        data, base = self.data, self.data.voxel_size
        whole = "the training scans" + f" of all {data.cohorts} cohorts" * (data.cohorts > 1)
        why = f"mm, the median of {whole}, which keep their size where they can (nnU-Net)"
        if "store.spacing" in self.given:
            shape = data.shape(base, cropped)
            return base, shape, self._patch(shape, base), ""
        shape, axis = data.shape(base, cropped), int(np.argmax(base))
        finer = [a for a in range(3) if a != axis]
        coarse = base[axis] > ANISOTROPY * max(base[a] for a in finer)
        if coarse and shape[axis] * ANISOTROPY < min(shape[a] for a in finer):
            # The finer tenth across thick slices, since the median would blur thin ones further.
            fine = float(np.percentile([s[axis] for s in data.spacings], 10))
            fine = max(fine, *(base[a] for a in finer))
            base = triple([round(fine, 3) if a == axis else base[a] for a in range(3)])
            why = f"mm, the median; across thick slices the finer tenth, {fine:.3g} mm (nnU-Net)"
        for factor in (1.0, 1.25, 1.5, 1.75, MAX_COARSENING):
            spacing = triple([round(length * factor, 3) for length in base])
            shape = data.shape(spacing, cropped)
            unet = self._patch(shape, spacing)
            if self.machine.gpu or math.prod(unet.patch) * CPU_COVERAGE >= math.prod(shape):
                break
        if factor > 1:
            why = (
                f"mm, {factor:g} times the scans' {shown(base)}: only so a patch that a CPU can "
                f"afford holds a {CPU_COVERAGE}th of a scan, as nnU-Net's low resolution a quarter"
            )
        return spacing, shape, unet, why

    def _patch(self, shape: Shape, spacing: Size) -> Topology:
        """Return the largest affordable patch and its topology, unless they are given."""
        network = divisors_of(self.run.network) if "network" in self.given else None
        if "patches.size" in self.given:
            size = self.run.patches.size
            return topology(size, spacing, grow=False) if network is None else fixed(size, network)
        return fitting(shape, spacing, lambda unet: self._fits(unet, self.items), network)

    def _network(self, unet: Topology) -> dict[str, Any]:
        if "network" in self.given:
            return self.run.network
        width = GPU_WIDTH if self.machine.gpu else CPU_WIDTH
        return unet.network(width, self.machine.gpu, self.data.leaves)

    def _fits(self, unet: Topology, items: int) -> bool:
        """Return whether the machine affords a step; costs are proportional to the voxels."""
        network = self._network(unet)
        if str(network) not in self.counts:
            size = unet.patch
            if len(unet.strides) > 1:  # else the network is given, and may need this very patch
                size = triple([2 * n for n in unet.divisors])
            images, leaves = self.data.images, self.data.leaves
            counted = count_of(network, images, leaves, size, self.run.allow)
            self.counts[str(network)] = counted, math.prod(size)
        counted, voxels = self.counts[str(network)]
        return self.machine.affords(counted.times(math.prod(unet.patch) / voxels), items, self.half)

    def _why_patch(self, shape: Shape, unet: Topology) -> str:
        share = min(1.0, math.prod(unet.patch) / math.prod(shape))
        limit = "memory" if self.machine.gpu else f"time of {self.machine.cores} cores"
        if share == 1:
            return f"the median scan of {list(shape)} voxels, as whole as the poolings allow"
        return f"{share:.0%} of the median scan of {list(shape)}: what the {limit} affords"

    def _batch(self, shape: Shape, unet: Topology) -> tuple[int, str]:
        if "patches.batch_size" in self.given:
            return self.run.patches.batch_size, ""
        min_items, devices = self.items, self.machine.devices
        voxels = MAX_BATCH_SHARE * self.data.train * math.prod(shape) / math.prod(unet.patch)
        items = min_items
        while items < min(MAX_ITEMS, voxels / devices) and self._fits(unet, items + 1):
            items += 1
        kind = (
            "one of each stream, and at least two" if items == min_items else "what a step affords"
        )
        sharing = "" if devices == 1 else f"; shared by {devices} devices"
        return items * devices, f"{kind}; at most a twentieth of all voxels (nnU-Net){sharing}"

    def _steps(self, shape: Shape, unet: Topology, batch: int) -> tuple[int, int, str]:
        """Return the steps per epoch, the number of epochs, and the reason."""
        data, patch = self.data, unet.patch
        patches = data.train * max(1.0, math.prod(shape) / math.prod(patch))
        passes = GPU_PASSES if self.machine.gpu else CPU_PASSES
        step_limit = GPU_MAX_STEPS if self.machine.gpu else CPU_MAX_STEPS
        steps = min(max(MIN_STEPS, round(passes * patches / batch)), step_limit)
        why = (
            f"{data.train} scans are {patches:.0f} patches, {passes} times; {MIN_STEPS} to "
            f"{step_limit} steps"
        )
        max_steps = self.run.trainer.max_steps
        if "trainer.max_steps" in self.given and max_steps is not None:
            steps, why = max_steps, "trainer.max_steps"
        stride = [max(1.0, n * (1 - self.run.window.overlap)) for n in patch]
        windows = data.val * math.prod(
            1 + math.ceil(max(0, n - p) / s) for n, p, s in zip(shape, patch, stride, strict=True)
        )
        # Prediction has one pass through the network, a training step the cost of three.
        min_per_epoch = math.ceil(windows / (3 * batch * VALIDATION_SHARE))
        per_epoch = min(steps, max(math.ceil(steps / VALIDATIONS), min_per_epoch))
        if "patches.steps_per_epoch" in self.given:
            per_epoch = self.run.patches.steps_per_epoch
        epochs = math.ceil(steps / per_epoch)
        if "trainer.max_epochs" in self.given and self.run.trainer.max_epochs:
            epochs = self.run.trainer.max_epochs
        return per_epoch, epochs, why
