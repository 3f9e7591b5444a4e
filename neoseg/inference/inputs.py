"""Find the scans to segment among the files of a folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg.cohort.dhcp import PIPELINE_FOLDERS
from neoseg.cohort.folders import has_subjects
from neoseg.cohort.formats import APART, ENDINGS, dicom_line, is_volume, stem_of
from neoseg.cohort.nnunet import channels_of
from neoseg.cohort.picking import entities_of
from neoseg.cohort.releases import RELEASES
from neoseg.store import DataError

log = logging.getLogger(__name__)

MASKS = tuple(dict.fromkeys(name for release in RELEASES for name in release.masks))
"""File names of brain masks in BIDS (as in dHCP release 3) and in other dHCP releases."""

NO_SCANS = frozenset(
    [
        *("seg", "dseg", "aseg", "segmentation", "label", "labels", "probseg", "statmap"),
        *("mask", "maske", "masque"),
    ]
)
"""Last words of names of label maps and masks, which are no scans, in a plain collection."""

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
class _Image:
    """The parts of an image's file name: modality, `desc`, `space`, and all others in order."""

    path: Path
    modality: str
    desc: str | None
    space: str | None
    rest: tuple[str, ...]


def find_scans(
    path: Path,
    modalities: Sequence[str],
    desc: str | None = None,
    usual: str | None = None,
    space: str | None = None,
) -> list[ScanFiles]:
    """Return the scans in a file or folder, sorted.

    A file is one scan. In a dHCP tree of any release, or another folder of BIDS sessions, only the
    images in `sub-*/[ses-*/]anat` are scans; in other folders, every file at any depth whose name
    ends in the first modality (`_T2w.nii.gz`). A folder without such names is a plain collection,
    in which every volume is a scan except label maps and masks (`NO_SCANS`). nnU-Net's channel
    numbers at the end of names (`CASE_0000.nii.gz`) are mapped to modalities by the `dataset.json`
    of the folder, or in order if the network has several.

    Files that differ only in `desc-` are one scan; in BIDS sessions also those that differ in
    `space-`, of which the native one is used. The other modalities are files of the same name
    except for modality, `desc-` and `space-`; preferably those in the space of the first modality,
    then those with the same `desc-`.

    Args:
        path: a volume or a folder.
        modalities: of the network, in order.
        desc: which of several images to use, "none" for the one without `desc-`. None selects
            `usual`, else the bias-corrected one (`desc-restore`), else the one without `desc-`,
            else the only one.
        usual: `desc` that the network was trained on, if known.
        space: that the network was trained on, if not native; preferred over native images.

    Raises:
        DataError: `path` does not exist, has no image, or several candidates for a scan.
    """
    if path.is_file():
        beside = [file for file in path.parent.iterdir() if is_volume(file)]
        channels = channels_of([path, *beside], modalities)
        if _parse(path, modalities[1:], channels) is not None:
            log.warning("%s is taken as %s, whatever its name says", path, modalities[0])
        images = _images(beside, modalities, channels)
        return [_with_partners(path, images, modalities, channels)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a file or a folder as input")
    trees = (path / folder for folder in PIPELINE_FOLDERS)
    base = next((folder for folder in trees if has_subjects(folder)), None)
    patterns = ["**/*"] if base is None else ["sub-*/ses-*/anat/*", "sub-*/anat/*"]
    candidates = [file for pattern in patterns for file in (base or path).glob(pattern)]
    files = sorted(file for file in candidates if is_volume(file) and file.is_file())
    if detached := [file for file in candidates if file.suffix.lower() in APART]:
        log.warning(
            "%d files such as %s are left out, since their voxels lie in others; convert them to "
            ".mha or .nrrd",
            len(detached),
            min(detached),
        )
    if not files:
        line = dicom_line(path)
        raise DataError(
            f"{base or path} holds DICOM files; convert them: {line}"
            if line
            else f"{base or path} has no file that ends in {' or '.join(ENDINGS)}"
        )
    channels = channels_of(files, modalities)
    images = _images(files, modalities, channels)
    firsts = [image for image in images if image.modality == modalities[0]]
    chosen = _choose_desc(firsts if base is None else _in_space(firsts, space), desc, usual)
    if chosen:
        return [_with_partners(image.path, images, modalities, channels) for image in chosen]
    if base is not None or desc is not None:
        expected = f"*_{modalities[0]}.nii.gz" + (f" with desc {desc}" if desc else "")
        raise DataError(
            f"{base or path} has {len(files)} volumes, and none is {expected}, which the run was "
            "trained on; name a file, or the folder that holds such images"
        )
    others = tuple(f"_{modality}" for modality in modalities[1:])
    images_alone = [file for file in files if not stem_of(file).endswith(others)]
    plain = [file for file in images_alone if not _is_label_map(file)]
    if len(plain) < len(images_alone):
        log.warning(
            "%d files such as %s are left out: by their names they are label maps or masks",
            len(images_alone) - len(plain),
            next(filter(_is_label_map, images_alone)),
        )
    if not plain:
        raise DataError(
            f"{path} has {len(files)} volumes, and by their names all are label maps, masks or "
            "images of other modalities; name a file to segment it nevertheless"
        )
    return [_with_partners(file, images, modalities, channels) for file in plain]


def _is_label_map(file: Path) -> bool:
    """Return whether the last word of a name is that of a label map, a mask or our other maps."""
    words = re.findall(r"[a-z]+", stem_of(file).lower())
    return bool(words) and words[-1] in NO_SCANS


def _images(
    files: Iterable[Path], modalities: Sequence[str], channels: Mapping[str, str]
) -> list[_Image]:
    parsed = (_parse(file, modalities, channels) for file in sorted(files))
    return [image for image in parsed if image is not None]


def _parse(path: Path, modalities: Sequence[str], channels: Mapping[str, str]) -> _Image | None:
    *parts, last = stem_of(path).split("_")
    last = channels.get(last, last)
    entities = entities_of("_".join(parts))
    if last == CORRECTED and parts and parts[-1] in modalities:  # T2w_restore, dHCP release 1
        last, entities["desc"] = parts.pop(), CORRECTED
    if last not in modalities:
        return None
    rest = tuple(part for part in parts if not part.startswith(("desc-", "space-")))
    return _Image(path, last, entities.get("desc"), entities.get("space"), rest)


def _in_space(images: Sequence[_Image], space: str | None) -> list[_Image]:
    """Keep the images of each scan in the preferred space, else the native ones, else all."""
    spaces: dict[tuple[Path, tuple[str, ...]], set[str | None]] = {}
    for image in images:
        spaces.setdefault((image.path.parent, image.rest), set()).add(image.space)
    kept = []
    for image in images:
        available = spaces[image.path.parent, image.rest]
        best = next((name for name in (space, None) if name in available), image.space)
        if image.space == best:
            kept.append(image)
    if len(kept) < len(images):
        removed = len(images) - len(kept)
        log.info("%d images are other spaces' copies of a scan and are left out", removed)
    return kept


def _choose_desc(images: Sequence[_Image], desc: str | None, usual: str | None) -> list[_Image]:
    """Return one image of each scan."""
    names = [desc] if desc else [*([usual] if usual else []), CORRECTED, "none"]
    preferred = [None if name == "none" else name for name in names]
    scans: dict[tuple[Path, str | None, tuple[str, ...]], dict[str | None, _Image]] = {}
    for image in images:
        by_desc = scans.setdefault((image.path.parent, image.space, image.rest), {})
        if image.desc in by_desc:  # both .nii and .nii.gz exist
            log.warning("%s is left out, as %s has its name", by_desc[image.desc].path, image.path)
        by_desc[image.desc] = image
    chosen, ambiguous = [], []
    for by_desc in scans.values():
        best = next((by_desc[name] for name in preferred if name in by_desc), None)
        if best is None and desc is None:
            best = next(iter(by_desc.values()))
            if len(by_desc) > 1:
                ambiguous.append("  " + ", ".join(str(image.path) for image in by_desc.values()))
        if best is not None:
            chosen.append(best)
    if ambiguous:
        raise DataError(
            f"{len(ambiguous)} scans have several images that would do; choose with desc=NAME:\n"
            + "\n".join(ambiguous[:5])
        )
    return sorted(chosen, key=lambda image: image.path)


def _with_partners(
    path: Path, images: Sequence[_Image], modalities: Sequence[str], channels: Mapping[str, str]
) -> ScanFiles:
    first = _parse(path, modalities[:1], channels)
    partners: list[Path | None] = [path]
    for name in modalities[1:]:
        if first is None:
            partners.append(None)
            continue
        spaces, desc = (None, first.modality, first.space), first.desc
        candidates = [
            image
            for image in images
            if (image.path.parent, image.modality, image.rest) == (path.parent, name, first.rest)
            and image.space in spaces
        ]
        best = max(
            candidates,
            key=lambda image: (image.space is not None, image.desc == desc),
            default=None,
        )
        partners.append(None if best is None else best.path)
    return ScanFiles(tuple(partners), _mask_of(path, first))


def _mask_of(path: Path, image: _Image | None) -> Path | None:
    """Return the brain mask whose name matches that of the image except modality and `desc`."""
    if image is None:
        return None
    names = ("_".join([*image.rest, mask]) + ending for mask in MASKS for ending in ENDINGS)
    masks = (path.parent / name for name in names)
    return next(filter(os.path.isfile, masks), None)  # does not raise for names that are too long
