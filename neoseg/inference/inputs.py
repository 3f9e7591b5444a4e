"""Which files of a folder are scans to segment."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
"""How brain masks are called in BIDS (as in release 3 of the dHCP) and in its other releases."""

DRAWN = frozenset(
    [
        *("seg", "dseg", "aseg", "segmentation", "label", "labels", "probseg", "statmap"),
        *("mask", "maske", "masque"),
        *("ribbon", "filled", "wm", "wmparc"),  # of FreeSurfer's mri folders
    ]
)
"""Last words of the names of files in a plain collection that are no scans."""

SUFFIXES = frozenset(
    [*("t1w", "t2w", "pdw", "flair", "t2star", "t2starw", "angio", "bold", "dwi", "ct", "pet")]
)
"""Last words of names that say what was measured, as BIDS has them, in small letters."""

CORRECTED = "restore"
"""What the dHCP calls an image whose bias field was corrected."""


@dataclass(frozen=True)
class ScanFiles:
    """One scan to segment: a file per modality, None where it lacks one (never the first), and
    the brain mask that lies beside them, if there is one.
    """

    images: tuple[Path | None, ...]
    mask: Path | None = None

    @property
    def source(self) -> Path:
        """The first modality's file, whose grid the segmentation gets."""
        assert self.images[0] is not None
        return self.images[0]


@dataclass(frozen=True)
class _Image:
    """A file by its name: what was measured, how it was processed, and the rest, in order."""

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
    """Return the scans that `path` names, sorted.

    A file is one scan. In a dHCP tree of any release, or another folder of BIDS sessions, the
    images in `sub-*/[ses-*/]anat` are, and nothing else; in other folders every file, however
    deep, whose name ends in the first modality (`_T2w.nii.gz`). A folder without such names is a
    plain collection in which every volume is a scan but for label maps and masks (`DRAWN`). Names
    that end in nnU-Net's numbers of channels (`CASE_0000.nii.gz`) are those of modalities, by the
    `dataset.json` that lies there, or in order where the network has several.

    Files that differ in nothing but `desc-` are one scan, and in BIDS sessions also those that
    differ in `space-`, of which the native one is taken. The other modalities are files of the
    same name but for modality, `desc-` and `space-`; those in the space of the first modality and
    with the same `desc-` go first.

    Args:
        path: a volume or a folder.
        modalities: of the network, in order.
        desc: which of several images to take, "none" for the one without `desc-`. None takes the
            usual one, else the bias-corrected one (`desc-restore`), else that without, else the
            only one.
        usual: what the network was trained on, where that is known.
        space: what it was trained on where that was not native; goes before native images.

    Raises:
        DataError: nothing there, no image, or several that would do.
    """
    if path.is_file():
        beside = [file for file in path.parent.iterdir() if is_volume(file)]
        channels = channels_of([path, *beside], modalities)
        _tell_other_modality([path], modalities, channels)
        images = _images(beside, modalities, channels)
        return [_with_partners(path, images, modalities, channels)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a file or a folder as input")
    bases = (path / folder for folder in PIPELINE_FOLDERS)
    base = next((folder for folder in bases if has_subjects(folder)), None)
    if base is None:
        there = list(_below(path))
    else:
        there = [
            f for pattern in ("sub-*/ses-*/anat/*", "sub-*/anat/*") for f in base.glob(pattern)
        ]
    volumes = sorted(filter(is_volume, there))
    files = [file for file in volumes if file.is_file()]
    if lost := [file for file in volumes if file.is_symlink() and not file.exists()]:
        log.warning(
            "%d files such as %s are links to nothing and are left out; fetch what they lead to "
            "(DataLad: datalad get)",
            len(lost),
            lost[0],
        )
    if apart := [file for file in there if file.suffix.lower() in APART]:
        log.warning(
            "%d files such as %s are left out, since their voxels lie in others; convert them to "
            ".mha or .nrrd",
            len(apart),
            min(apart),
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
    chosen = _choose(firsts if base is None else _in_space(firsts, space), desc, usual)
    if chosen and base is None:
        _tell_left_out(files, images, modalities[0])
    if chosen:
        return [_with_partners(image.path, images, modalities, channels) for image in chosen]
    if base is not None or desc is not None:
        wanted = f"*_{modalities[0]}.nii.gz" + (f" with desc {desc}" if desc else "")
        raise DataError(
            f"{base or path} has {len(files)} volumes, and none is {wanted}, which the run was "
            "trained on; name a file, or the folder that holds such images"
        )
    others = tuple(f"_{modality}" for modality in modalities[1:])
    images_alone = [file for file in files if not stem_of(file).endswith(others)]
    plain = [file for file in images_alone if not _is_drawn(file)]
    if len(plain) < len(images_alone):
        log.warning(
            "%d files such as %s are left out: by their names they are label maps or masks",
            len(images_alone) - len(plain),
            next(filter(_is_drawn, images_alone)),
        )
    _tell_other_modality(plain, modalities, channels)
    if not plain:
        raise DataError(
            f"{path} has {len(files)} volumes, and by their names all are label maps, masks or "
            "images of other modalities; name a file to segment it nevertheless"
        )
    return [_with_partners(file, images, modalities, channels) for file in plain]


def _tell_other_modality(
    files: Sequence[Path], modalities: Sequence[str], channels: Mapping[str, str]
) -> None:
    """Warn of files that by their names are not of the first modality."""
    others = []
    for file in files:
        last = stem_of(file).rpartition("_")[2]
        last = channels.get(last, last).casefold()
        measured = {*SUFFIXES, *(name.casefold() for name in modalities)}
        if last in measured and last != modalities[0].casefold():
            others.append(file)
    for file in others[:5]:
        log.warning("%s is taken as %s, whatever its name says", file, modalities[0])
    if others[5:]:
        log.warning("%d more files are taken as %s, too", len(others[5:]), modalities[0])


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, through links to folders, but for hidden folders."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        where = os.path.realpath(place)
        folders[:] = [] if where in seen else sorted(f for f in folders if not f.startswith("."))
        if where not in seen:
            seen.add(where)
            yield from (Path(place, file) for file in files)


def _tell_left_out(files: Sequence[Path], images: Sequence[_Image], modality: str) -> None:
    """Warn of volumes whose names do not say what they are, where others say it."""
    known = {image.path for image in images}
    left = [
        file
        for file in files
        if file not in known
        and not _is_drawn(file)
        and stem_of(file).rpartition("_")[2].casefold() not in SUFFIXES
    ]
    if left:
        log.warning(
            "%d files such as %s are left out, since others have names that end in _%s and these "
            "do not; rename them, or name each as input",
            len(left),
            left[0],
            modality,
        )


def _is_drawn(file: Path) -> bool:
    """Tell whether the last word of a name is that of a label map, a mask or a map of ours."""
    words = re.findall(r"[a-z]+", stem_of(file).lower())
    return bool(words) and words[-1] in DRAWN


def _images(
    files: Iterable[Path], modalities: Sequence[str], channels: Mapping[str, str]
) -> list[_Image]:
    parsed = (_parse(file, modalities, channels) for file in sorted(files))
    return [image for image in parsed if image is not None]


def _parse(path: Path, modalities: Sequence[str], channels: Mapping[str, str]) -> _Image | None:
    *parts, last = stem_of(path).split("_")
    last = channels.get(last, last)
    last = next((name for name in modalities if name.casefold() == last.casefold()), last)
    found = entities_of("_".join(parts))
    if last == CORRECTED and parts and parts[-1] in modalities:  # T2w_restore, dHCP release 1
        last, found["desc"] = parts.pop(), CORRECTED
    if last not in modalities:
        return None
    rest = tuple(part for part in parts if not part.startswith(("desc-", "space-")))
    return _Image(path, last, found.get("desc"), found.get("space"), rest)


def _in_space(images: Sequence[_Image], space: str | None) -> list[_Image]:
    """Leave out the images of which there is another one in the space asked for, or a native one.

    What is in other spaces alone stays.
    """
    spaces: dict[tuple[Path, tuple[str, ...]], set[str | None]] = {}
    for image in images:
        spaces.setdefault((image.path.parent, image.rest), set()).add(image.space)
    kept = []
    for image in images:
        there = spaces[image.path.parent, image.rest]
        best = next((name for name in (space, None) if name in there), image.space)
        if image.space == best:
            kept.append(image)
    if len(kept) < len(images):
        left = len(images) - len(kept)
        log.info("%d images are other spaces' copies of a scan and are left out", left)
    return kept


def _choose(images: Sequence[_Image], desc: str | None, usual: str | None) -> list[_Image]:
    """Return one image of each scan."""
    names = [desc] if desc else [*([usual] if usual else []), CORRECTED, "none"]
    wanted = [None if name == "none" else name for name in names]
    scans: dict[tuple[Path, str | None, tuple[str, ...]], dict[str | None, _Image]] = {}
    for image in images:
        found = scans.setdefault((image.path.parent, image.space, image.rest), {})
        if image.desc in found:  # .nii beside .nii.gz
            log.warning("%s is left out, as %s has its name", found[image.desc].path, image.path)
        found[image.desc] = image
    chosen, unclear = [], []
    for found in scans.values():
        best = next((found[name] for name in wanted if name in found), None)
        if best is None and desc is None:
            best = next(iter(found.values()))
            if len(found) > 1:
                unclear.append("  " + ", ".join(str(image.path) for image in found.values()))
        if best is not None:
            chosen.append(best)
    if unclear:
        raise DataError(
            f"{len(unclear)} scans have several images that would do; choose with desc=NAME:\n"
            + "\n".join(unclear[:5])
        )
    return sorted(chosen, key=lambda image: image.path)


def _with_partners(
    path: Path, images: Sequence[_Image], modalities: Sequence[str], channels: Mapping[str, str]
) -> ScanFiles:
    first = _parse(path, modalities[:1], channels)
    partners: list[Path | None] = [path]
    for other in modalities[1:]:
        if first is None:
            partners.append(None)
            continue
        spaces, desc = (None, first.modality, first.space), first.desc
        candidates = [
            image
            for image in images
            if (image.path.parent, image.modality, image.rest) == (path.parent, other, first.rest)
            and image.space in spaces
        ]
        if not candidates and "anat" in path.parts and path.name.startswith("sub-"):
            candidates = _nearest_of_session(path, first, images, other, spaces)
        best = max(
            candidates,
            key=lambda image: (image.space is not None, image.desc == desc),
            default=None,
        )
        partners.append(None if best is None else best.path)
    return ScanFiles(tuple(partners), _mask_of(path, first))


def _nearest_of_session(
    path: Path,
    first: _Image,
    images: Sequence[_Image],
    modality: str,
    spaces: Collection[str | None],
) -> list[_Image]:
    """Return the images of a modality in the session's folder whose other entities differ least.

    As training pairs them: `acq-tse_T2w` with `acq-mprage_T1w`, but no two different runs.
    """
    own = entities_of("_".join(first.rest))
    ranked: dict[int, list[_Image]] = {}
    for image in images:
        if (image.path.parent, image.modality) != (path.parent, modality):
            continue
        parts = entities_of("_".join(image.rest))
        if image.space not in spaces or parts.get("run", own.get("run")) != own.get("run"):
            continue
        differing = sum(parts.get(key) != own.get(key) for key in {*parts, *own})
        ranked.setdefault(differing, []).append(image)
    return ranked[min(ranked)] if ranked else []


def _mask_of(path: Path, image: _Image | None) -> Path | None:
    """Return the mask that has the image's name but for what was measured and how."""
    if image is None:
        return None
    names = ("_".join([*image.rest, mask]) + ending for mask in MASKS for ending in ENDINGS)
    masks = (path.parent / name for name in names)
    return next(filter(os.path.isfile, masks), None)  # which takes names of any length
