"""Segment the files of a scan into a label map on the grid of the scan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neoseg.cohort import MissingModality
from neoseg.findings.settings import ConfigError
from neoseg.inference.blending import Region
from neoseg.inference.forward import mirror_partners
from neoseg.inference.model import ModelSpec
from neoseg.inference.placement import Watch, in_scan, place_pieces
from neoseg.inference.probability import ClassProbabilities, room_for, values_outside
from neoseg.inference.segmentation import Segmentation
from neoseg.inference.trained import TrainedNetwork
from neoseg.inference.window import WindowSettings, leaf_map, predict_pieces, probability_map, votes
from neoseg.networks import Head, divisors_of
from neoseg.patches.completion import complete_volume
from neoseg.store import (
    DataError,
    Geometry,
    PrepareSettings,
    prepare_images,
    prepare_labels,
    to_canonical,
)
from neoseg.store.voxel_size import Size, size_of_training, size_warning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segmenter:
    """A network with everything that is needed to segment a scan from disk.

    `missing` is how the training handled scans that lack an image; None, as in runs of earlier
    versions, fills zeros without an indicator. `modalities` are those of the images, in order;
    empty if unknown.
    """

    network: nn.Module
    head: Head
    window: WindowSettings
    prepare: PrepareSettings
    device: torch.device
    missing: MissingModality | None = None
    modalities: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: str = "auto",
        predict_with: str | None = None,
        allow: Sequence[str] = (),
        **window: Any,
    ) -> Segmenter:
        """Load the segmenter of a trained run, to be used as `Segmenter.load(run)(image)`.

        Args:
            run: folder of the run, or a file of `neoseg export`; packages of its losses and
                optimizer need not be installed.
            device: as torch names it, or "auto".
            predict_with: "student", "teacher" or "peer"; None: as configured in the run.
            allow: further packages whose networks may be instantiated.
            window: overrides of `WindowSettings`, such as `overlap=0.25`; `voxel_size` as in
                `segmenter_of`.

        Raises:
            ConfigError: there is no valid checkpoint, or settings do not fit it.
        """
        path = Path(run)
        if path.is_file():
            networks = TrainedNetwork.load_file(path, device, predict_with, allow)
            if len(networks) > 1:
                raise ConfigError(
                    f"{run} holds {len(networks)} networks; `neoseg predict` takes it"
                )
            (trained,) = networks.values()
        else:
            trained = TrainedNetwork.load(path, device, predict_with, allow)
        return segmenter_of(trained.spec, trained.network, trained.device, **window)

    def __call__(self, *images: str | Path | None) -> Segmentation:
        """Segment one scan given its image files, one per modality in order, None if it is missing.

        Raises:
            DataError: see `volume`; also for anything but paths, and for a folder.
        """
        for image in images:
            if not isinstance(image, str | Path | None):
                raise DataError(
                    f"found {type(image).__name__}, expected the path of an image file, since its "
                    "header is needed; save what is in memory with nibabel"
                )
            if image is not None and Path(image).is_dir():
                raise DataError(f"{image} is a folder; give one file, or use neoseg predict")
        return self.segment([None if image is None else Path(image) for image in images])

    def volume(
        self, images: Sequence[Path | None], mask: Path | None = None
    ) -> tuple[Tensor, Geometry]:
        """Return the network's input for a scan, float32 `[channels, X, Y, Z]`, and its geometry.

        Raises:
            DataError: images cannot be read or do not share a grid; one is missing although the
                network was trained on complete scans only; or there is no usable brain mask
                although the preparation uses one.
        """
        if self.modalities and len(images) != len(self.modalities):
            raise DataError(
                f"{len(images)} images were given, and the network takes {len(self.modalities)}: "
                f"{', '.join(self.modalities)}, in this order, None for one that is missing"
            )
        present = [path is not None for path in images]
        if self.missing is not None and not self.missing.fills and not all(present):
            raise DataError(
                f"{images[0]} has no image {present.index(False) + 1} of {len(images)}, and the "
                "network was trained on scans that have all "
                f"(missing_modality.policy={self.missing.policy}); add the file beside it"
            )
        image, geometry = prepare_images(images, self.prepare, mask)
        warning = size_warning(geometry.canonical_spacing, self.prepare.spacing)
        if warning:
            log.warning("%s %s", images[0], warning)
        return self.completed(torch.from_numpy(image), present), geometry

    def completed(self, image: Tensor, present: Sequence[bool]) -> Tensor:
        """Fill missing images of `[M, X, Y, Z]` as in training; return `[channels, X, Y, Z]`."""
        return complete_volume(image, present, self.missing)

    def segment(
        self,
        images: Sequence[Path | None],
        inspect: Callable[[Tensor, Region, Geometry], None] | None = None,
        classes: Sequence[int] = (),
        scratch: Path | None = None,
        mask: Path | None = None,
        watch: Watch | None = None,
    ) -> Segmentation:
        """Segment one scan given one path per modality (None where it is missing).

        Args:
            images: a path per modality of the network.
            inspect: callback that receives the logits `[N, *piece]` of each piece, its region in
                the prepared grid, and the geometry.
            classes: positions of the classes whose probabilities are returned.
            scratch: folder for a temporary file of these; None keeps them in memory.
            mask: brain mask; read only if the preparation uses it.
            watch: callback that receives the probabilities of the leaves.

        Raises:
            DataError: see `volume`.
        """
        volume, geometry = self.volume(images, mask)
        resampled, space = geometry.resampled, self.head.space
        shape = geometry.canonical_shape if resampled else geometry.prepared_shape
        leaves = np.full(shape, space.background, dtype=np.uint8)
        outside = values_outside(space, classes)
        values = room_for(len(classes), shape, scratch)
        if resampled:
            values[:] = np.array(outside, values.dtype).reshape(-1, 1, 1, 1)
        window = (self.head, self.window, self.device)
        pieces = predict_pieces(self.network, volume, *window, whole_planes=resampled)
        if inspect is not None:
            pieces = _inspected(pieces, inspect, geometry)
        if resampled:
            # Labels cannot be interpolated, so probabilities are.
            voted = ((region, votes(self.head, logits, classes)) for region, logits in pieces)
            for region, part in place_pieces(voted, geometry):
                leaves[region] = part[: space.num_leaves].argmax(dim=0).cpu().numpy()
                if watch is not None:
                    watch(part[: space.num_leaves], region, geometry)
                values[(slice(None), *region)] = part[space.num_leaves :].cpu().numpy()
        else:
            for region, logits in pieces:
                leaves[region] = leaf_map(self.head, logits)
                if classes:
                    values[(slice(None), *region)] = probability_map(self.head, logits, classes)
                if watch is not None:
                    watch(votes(self.head, logits, ()), in_scan(region, geometry), geometry)
        probabilities = None
        if classes:
            probabilities = ClassProbabilities(
                tuple(classes), values, outside, geometry, canonical=resampled
            )
        if resampled:
            full, prepared = leaves, prepare_labels(leaves, geometry)
        else:
            full, prepared = to_canonical(leaves, geometry, space.background), leaves
        picture = volume[0].numpy()
        return Segmentation(full, prepared, picture, geometry, probabilities, self.prepare)


def _inspected(
    pieces: Iterable[tuple[Region, Tensor]],
    inspect: Callable[[Tensor, Region, Geometry], None],
    geometry: Geometry,
) -> Iterator[tuple[Region, Tensor]]:
    for region, logits in pieces:
        inspect(logits, region, geometry)
        yield region, logits


def segmenter_of(
    spec: ModelSpec,
    network: nn.Module,
    device: torch.device,
    voxel_size: Size | None = None,
    **window: Any,
) -> Segmenter:
    """Return the segmenter of a network, with overrides of its window settings (None: unchanged).

    `voxel_size` is that of the training in mm, for runs of earlier versions that did not record it.

    Raises:
        ConfigError: settings are invalid, the network does not support them, or it is known to have
            been trained at another voxel size.
    """
    changed = {key: value for key, value in window.items() if value is not None}
    settings = WindowSettings.read({**spec.window.model_dump(), **changed}, "window")
    head = spec.make_head()
    if settings.mirror:
        try:
            mirror_partners(head, settings.patch_size)
        except ValueError as error:
            raise ConfigError(f"window.mirror: {error}") from None
    _check_patch(spec, settings.patch_size)
    spacing = size_of_training(spec.prepare.spacing, voxel_size)
    prepare = spec.prepare.model_copy(update={"spacing": spacing})
    missing, names = spec.missing_modality, tuple(spec.modalities)
    return Segmenter(network, head, settings, prepare, device, missing, names)


def _check_patch(spec: ModelSpec, size: Sequence[int]) -> None:
    """Raise `ConfigError` if the network does not support the window size."""
    trained, divisors = spec.patch_size, divisors_of(spec.network)
    flat = [axis for axis in range(3) if (size[axis] == 1) != (trained[axis] == 1)]
    wrong = [axis for axis in range(3) if trained[axis] > 1 and size[axis] % divisors[axis]]
    if flat or wrong:
        raise ConfigError(
            f"window.patch_size is {list(size)}; the network was trained on {list(trained)} and "
            f"takes multiples of {list(divisors)} along the axes that are not 1 there, and 1 along "
            "one that is"
        )
