"""The parts of an image's file name, and the files that belong to an image by their names."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neoseg.cohort.formats import ENDINGS, stem_of
from neoseg.cohort.picking import Entities, entities_of
from neoseg.cohort.releases import RELEASES

MASKS = tuple(dict.fromkeys(name for release in RELEASES for name in release.masks))
"""File names of brain masks in BIDS (as in dHCP release 3) and in other dHCP releases."""

CORRECTED = "restore"
"""`desc` of bias-field-corrected images in the dHCP."""


@dataclass(frozen=True)
class Naming:
    """How names of files tell the images that a network was trained on.

    Attributes:
        desc: `desc-` of the images; "none" without one, None if unknown.
        space: `space-` of the images, None for native ones.
        entities: other entities of images of the first modality, as in `{ce: gd}`; None: without.
        names: what stands for a modality in names where it is not called so, as in `{t1n: t1}`.
    """

    desc: str | None = None
    space: str | None = None
    entities: Entities = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def words(self, modalities: Sequence[str], channels: Mapping[str, str]) -> dict[str, str]:
        """Return the modality of each word that ends a name; `channels` are nnU-Net's numbers."""
        own = {word: modality for modality, word in self.names.items()}
        return {modality: modality for modality in modalities} | own | {**channels}


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


def parse_all(files: Iterable[Path], words: Mapping[str, str]) -> list[ImageName]:
    """Return the files whose names end in a modality, sorted; see `parse`."""
    parsed = (parse(file, words) for file in sorted(files))
    return [image for image in parsed if image is not None]


def parse(path: Path, words: Mapping[str, str]) -> ImageName | None:
    """Return the parts of a file name, None if it does not end in a modality, in any case.

    Args:
        path: of the file.
        words: what a name ends in, after `_` (outside of BIDS sessions also `-` or a dot), and the
            modality that it stands for. A word may have entities, which may be anywhere in the
            name: `ce-gd_T1w`.
    """
    stem, desc, signs = stem_of(path), None, "" if _in_session(path) else "-."
    found = _split(stem, words, signs)
    if found is None and stem.endswith(f"_{CORRECTED}"):  # T2w_restore, dHCP release 1
        found, desc = _split(stem.removesuffix(f"_{CORRECTED}"), words, signs), CORRECTED
    if found is None:
        return None
    parts, modality = found
    entities = entities_of("_".join(parts))
    rest = tuple(part for part in parts if not part.startswith(("desc-", "space-")))
    return ImageName(path, modality, desc or entities.get("desc"), entities.get("space"), rest)


def _in_session(path: Path) -> bool:
    return path.parent.name == "anat" and path.name.startswith("sub-")


def _split(stem: str, words: Mapping[str, str], signs: str) -> tuple[list[str], str] | None:
    """Return the parts of a name before its modality, and the modality.

    `signs` are what may stand before it beside `_`.
    """
    for word in sorted(words, key=lambda word: (-word.count("_"), -len(word))):
        *entities, end = word.split("_")
        front = stem[: -len(end)]
        is_apart = front[-1:] in ("", "_") or (front[-1] in signs and not end.isdecimal())
        parts = [part for part in front[:-1].split("_") if part]
        if stem.casefold().endswith(end.casefold()) and is_apart and {*entities} <= {*parts}:
            return [part for part in parts if part not in entities], words[word]
    return None


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


def without_first(images: Sequence[ImageName], first: str) -> list[Path]:
    """Return images of other modalities beside which no image of the first one has their name."""
    there = {(image.path.parent, image.rest) for image in images if image.modality == first}
    return [image.path for image in images if (image.path.parent, image.rest) not in there]


def with_partners(
    path: Path, images: Sequence[ImageName], modalities: Sequence[str], words: Mapping[str, str]
) -> ScanFiles:
    """Return the scan of a first image: the other modalities and the mask that belong to it.

    `images` are those of its folder.

    They have its name except for modality, `desc-` and `space-`. In BIDS sessions, those with the
    fewest other entities that differ will do, as in training.
    """
    first = parse(path, words)
    first = first if first and first.modality == modalities[0] else None
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
        if not candidates and _in_session(path):
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
