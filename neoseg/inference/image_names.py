"""The parts of an image's file name, and the files that belong to an image by their names."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg.cohort.formats import ENDINGS, stem_of
from neoseg.cohort.picking import entities_of
from neoseg.cohort.releases import RELEASES

MASKS = tuple(dict.fromkeys(name for release in RELEASES for name in release.masks))
"""File names of brain masks in BIDS (as in dHCP release 3) and in other dHCP releases."""

CORRECTED = "restore"
"""`desc` of bias-field-corrected images in the dHCP."""


@dataclass(frozen=True)
class ScanFiles:
    """One scan to segment: a file per modality, None for a missing one (never the first), and
    the brain mask in the same folder, if there is one.
    """

    images: tuple[Path | None, ...]
    mask: Path | None = None

    @property
    def source(self) -> Path:
        """The file of the first modality, which defines the grid of the segmentation."""
        assert self.images[0] is not None
        return self.images[0]


@dataclass(frozen=True)
class ImageName:
    """The parts of an image's file name: modality, `desc`, `space`, and all others in order."""

    path: Path
    modality: str
    desc: str | None
    space: str | None
    rest: tuple[str, ...]


def parse_all(
    files: Iterable[Path], modalities: Sequence[str], channels: Mapping[str, str]
) -> list[ImageName]:
    """Return the files whose names end in a modality, sorted; see `parse`."""
    parsed = (parse(file, modalities, channels) for file in sorted(files))
    return [image for image in parsed if image is not None]


def parse(path: Path, modalities: Sequence[str], channels: Mapping[str, str]) -> ImageName | None:
    """Return the parts of a file name, None if it does not end in a modality, in any case.

    `channels` maps nnU-Net's numbers of channels to modalities.
    """
    *parts, last = stem_of(path).split("_")
    last = channels.get(last, last)
    last = next((name for name in modalities if name.casefold() == last.casefold()), last)
    entities = entities_of("_".join(parts))
    if last == CORRECTED and parts and parts[-1] in modalities:  # T2w_restore, dHCP release 1
        last, entities["desc"] = parts.pop(), CORRECTED
    if last not in modalities:
        return None
    rest = tuple(part for part in parts if not part.startswith(("desc-", "space-")))
    return ImageName(path, last, entities.get("desc"), entities.get("space"), rest)


def by_folder(images: Iterable[ImageName]) -> dict[Path, list[ImageName]]:
    """Return the images of each folder."""
    folders: dict[Path, list[ImageName]] = {}
    for image in images:
        folders.setdefault(image.path.parent, []).append(image)
    return folders


def first_beside(path: Path, images: Sequence[ImageName], first: str) -> Path | None:
    """Return the image of the first modality whose scan a file of another one belongs to."""
    own = next((image for image in images if image.path.name == path.name), None)
    if own is None or own.modality == first:
        return None
    return next((i.path for i in images if (i.modality, i.rest) == (first, own.rest)), None)


def without_first(images: Sequence[ImageName], first: str, in_sessions: bool) -> list[Path]:
    """Return images of other modalities beside which no image of the first one is.

    In BIDS sessions any of the session's folder will do, else one of the same name.
    """

    def scan_of(image: ImageName) -> tuple[Path, tuple[str, ...]]:
        return image.path.parent, () if in_sessions else image.rest

    there = {scan_of(image) for image in images if image.modality == first}
    return [image.path for image in images if scan_of(image) not in there]


def with_partners(
    path: Path, images: Sequence[ImageName], modalities: Sequence[str], channels: Mapping[str, str]
) -> ScanFiles:
    """Return the scan of a first image: the other modalities and the mask that belong to it.

    `images` are those of its folder.

    They have its name except for modality, `desc-` and `space-`. In BIDS sessions, those with the
    fewest other entities that differ will do, as in training.
    """
    first = parse(path, modalities[:1], channels)
    partners: list[Path | None] = [path]
    for name in modalities[1:]:
        if first is None:
            partners.append(None)
            continue
        spaces, desc = (None, first.modality, first.space), first.desc
        candidates = [
            image
            for image in images
            if (image.modality, image.rest) == (name, first.rest) and image.space in spaces
        ]
        if not candidates and path.parent.name == "anat" and path.name.startswith("sub-"):
            candidates = _nearest_of_session(first, images, name, spaces)
        best = max(
            candidates,
            key=lambda image: (image.space is not None, image.desc == desc),
            default=None,
        )
        partners.append(None if best is None else best.path)
    return ScanFiles(tuple(partners), _mask_of(path, first))


def _nearest_of_session(
    first: ImageName,
    images: Sequence[ImageName],
    modality: str,
    spaces: Collection[str | None],
) -> list[ImageName]:
    """Return the images of a modality in the session's folder whose other entities differ least.

    So training pairs `acq-tse_T2w` with `acq-mprage_T1w`. None if the session has several scans of
    the first modality (an image could belong to any of them), or if the runs differ.
    """
    firsts = {image.rest for image in images if image.modality == first.modality}
    if len(firsts) > 1:
        return []
    own = entities_of("_".join(first.rest))
    ranked: dict[int, list[ImageName]] = {}
    for image in images:
        if image.modality != modality:
            continue
        parts = entities_of("_".join(image.rest))
        if image.space not in spaces or parts.get("run", own.get("run")) != own.get("run"):
            continue
        differing = sum(parts.get(key) != own.get(key) for key in {*parts, *own})
        ranked.setdefault(differing, []).append(image)
    return ranked[min(ranked)] if ranked else []


def _mask_of(path: Path, image: ImageName | None) -> Path | None:
    """Return the brain mask whose name matches that of the image except modality and `desc`."""
    if image is None:
        return None
    names = ("_".join([*image.rest, mask]) + ending for mask in MASKS for ending in ENDINGS)
    masks = (path.parent / name for name in names)
    return next(filter(os.path.isfile, masks), None)  # does not raise for names that are too long
