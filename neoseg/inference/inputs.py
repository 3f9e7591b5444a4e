"""Find the scans to segment among the files of a folder."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.dhcp import PIPELINE_FOLDERS
from neoseg.cohort.folders import has_subjects
from neoseg.cohort.formats import APART, ENDINGS, dicom_line, is_volume, stem_of
from neoseg.cohort.nnunet import channels_of
from neoseg.findings.problems import shorten
from neoseg.inference.image_choice import choose_desc, in_space
from neoseg.inference.image_names import (
    ImageName,
    ScanFiles,
    by_folder,
    first_beside,
    parse_all,
    with_partners,
    without_first,
)
from neoseg.store import DataError

log = logging.getLogger(__name__)

NO_SCANS = frozenset(
    [
        *("seg", "dseg", "aseg", "segmentation", "label", "labels", "probseg", "statmap"),
        *("mask", "maske", "masque"),
        *("ribbon", "filled", "wm", "wmparc"),  # of FreeSurfer's mri folders
    ]
)
"""Last words of names of label maps and masks, which are no scans, in a plain collection."""

SUFFIXES = frozenset(
    [*("t1w", "t2w", "pdw", "flair", "t2star", "t2starw", "angio", "bold", "dwi", "ct", "pet")]
)
"""Last words of names that say what was measured, as BIDS has them, in small letters."""

WORDLESS = frozenset(["mri", "mr", "image", "img", "scan", "volume"])
"""Names of modalities that do not say what was measured, in small letters; so are mere numbers."""


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
        return [_scan_of_file(path, modalities)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a file or a folder as input")
    trees = (path / folder for folder in PIPELINE_FOLDERS)
    base = next((folder for folder in trees if has_subjects(folder)), None)
    files = _volumes_in(path, base)
    channels = channels_of(files, modalities)
    images = parse_all(files, modalities, channels)
    folders = by_folder(images)
    firsts = [image for image in images if image.modality == modalities[0]]
    chosen = choose_desc(firsts if base is None else in_space(firsts, space), desc, usual)
    if chosen and base is None:
        named = [file for file in files if stem_of(file).rpartition("_")[2] not in channels]
        _warn_of_unnamed(named, images, modalities[0])
    if chosen:
        if alone := without_first(images, modalities[0], base is not None):
            log.warning(
                "%d images have no %s beside them and are left out: %s",
                *(len(alone), modalities[0], shorten(file.name for file in alone)),
            )
        return [
            with_partners(image.path, folders[image.path.parent], modalities, channels)
            for image in chosen
        ]
    if base is not None and (kind := _only_kind(files, modalities)):
        log.warning("images called %s are taken as %s", kind, modalities[0])
        return find_scans(path, [kind], desc, usual, space)
    if base is not None or desc is not None:
        expected = f"*_{modalities[0]}.nii.gz" + (f" with desc {desc}" if desc else "")
        raise DataError(
            f"{base or path} has {len(files)} volumes, and none is {expected}, which the run was "
            "trained on; name a file, or the folder that holds such images"
        )
    plain = _plain_collection(path, files, modalities, channels)
    return [
        with_partners(file, folders.get(file.parent, ()), modalities, channels) for file in plain
    ]


def _only_kind(files: Sequence[Path], modalities: Sequence[str]) -> str | None:
    """Return the only kind of image in a tree, if the network's one modality names no kind.

    Networks trained on nnU-Net's folders call it "0".
    """
    words = (stem_of(file).rpartition("_")[2] for file in files)
    kinds = {word.casefold(): word for word in words if word.casefold() in SUFFIXES}
    name = modalities[0].casefold()
    unnamed = len(modalities) == 1 and (name.isdigit() or name in WORDLESS)
    return next(iter(kinds.values())) if unnamed and len(kinds) == 1 else None


def _scan_of_file(path: Path, modalities: Sequence[str]) -> ScanFiles:
    """Return the scan whose first modality is a file, with its partners in the same folder.

    Raises:
        DataError: by its name it is another modality of a scan whose first one is there.
    """
    beside = [file for file in path.parent.iterdir() if is_volume(file)]
    channels = channels_of([path, *beside], modalities)
    images = parse_all(beside, modalities, channels)
    if (first := first_beside(path, images, modalities[0])) is not None:
        raise DataError(f"{path} goes with {first.name}; name that one, and both are used")
    _warn_of_modality([path], modalities, channels)
    return with_partners(path, images, modalities, channels)


def _volumes_in(path: Path, base: Path | None) -> list[Path]:
    """Return the volumes in the BIDS sessions of `base`, or anywhere below `path`, sorted.

    Raises:
        DataError: there are none.
    """
    if base is None:
        candidates = list(_files_below(path))
    else:
        candidates = [*base.glob("sub-*/ses-*/anat/*"), *base.glob("sub-*/anat/*")]
    files = sorted(file for file in candidates if is_volume(file) and file.is_file())
    if lost := sorted(f for f in candidates if is_volume(f) and f.is_symlink() and not f.exists()):
        log.warning(
            "%d files such as %s are broken links and are left out; fetch what they lead to "
            "(DataLad: datalad get)",
            len(lost),
            lost[0],
        )
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
    return files


def _plain_collection(
    path: Path, files: Sequence[Path], modalities: Sequence[str], channels: Mapping[str, str]
) -> list[Path]:
    """Return the files that are scans in a folder where no name states the first modality.

    Raises:
        DataError: there are none.
    """
    others = tuple(f"_{modality}" for modality in modalities[1:])
    images = [file for file in files if not stem_of(file).endswith(others)]
    plain = [file for file in images if not _is_label_map(file)]
    if len(plain) < len(images):
        log.warning(
            "%d files such as %s are left out: by their names they are label maps or masks",
            len(images) - len(plain),
            next(filter(_is_label_map, images)),
        )
    _warn_of_modality(plain, modalities, channels)
    if not plain:
        raise DataError(
            f"{path} has {len(files)} volumes, and by their names all are label maps, masks or "
            "images of other modalities; name a file to segment it nevertheless"
        )
    return plain


def _is_label_map(file: Path) -> bool:
    """Return whether the last word of a name is that of a label map, a mask or our other maps."""
    words = re.findall(r"[a-z]+", stem_of(file).lower())
    return bool(words) and words[-1] in NO_SCANS


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, following links to folders; hidden folders are skipped."""
    visited = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files)


def _last_word(file: Path, channels: Mapping[str, str]) -> str:
    word = stem_of(file).rpartition("_")[2]
    return channels.get(word, word).casefold()


def _warn_of_unnamed(files: Sequence[Path], images: Sequence[ImageName], modality: str) -> None:
    """Warn of volumes whose names do not state a modality, in a folder where others do."""
    known = {image.path for image in images}
    unnamed = [
        file
        for file in files
        if file not in known and not _is_label_map(file) and _last_word(file, {}) not in SUFFIXES
    ]
    if unnamed:
        log.warning(
            "%d files such as %s are left out, since others have names that end in _%s and these "
            "do not; rename them, or name each as input",
            len(unnamed),
            unnamed[0],
            modality,
        )


def _warn_of_modality(
    files: Sequence[Path], modalities: Sequence[str], channels: Mapping[str, str]
) -> None:
    """Warn of files whose names state another modality than the first."""
    first, *others = (name.casefold() for name in modalities)
    stated = {*SUFFIXES, *others} - {first}
    strange = [file for file in files if _last_word(file, channels) in stated]
    if strange:
        log.warning("%s is taken as %s, whatever its name says", strange[0], modalities[0])
    if strange[1:]:
        log.warning("so are %d more, such as %s", len(strange[1:]), strange[1])
