"""Scans in folders whose file names do not say which modality an image is."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from neoseg.cohort.formats import stem_of
from neoseg.findings.command_line import override
from neoseg.findings.problems import shorten
from neoseg.inference.image_names import ImageName
from neoseg.store import DataError

log = logging.getLogger(__name__)

NO_SCANS = frozenset(
    [
        *("seg", "dseg", "aseg", "segmentation", "label", "labels", "probseg", "statmap"),
        *("mask", "maske", "masque", "gt", "groundtruth", "annotation"),
        *("ribbon", "filled", "wm", "wmparc"),  # of FreeSurfer's mri folders
    ]
)
"""Last words of names of label maps and masks, which are no scans, in a plain collection."""

SUFFIXES = frozenset(
    [
        *("t1w", "t2w", "pdw", "flair", "t2star", "t2starw", "angio", "bold", "dwi", "ct", "pet"),
        *("t1", "t2", "pd", "t1c", "t1ce", "t1gd", "t1n", "t2f", "adc", "swi"),
    ]
)
"""Last words of names that say what was measured, as of BIDS and of BraTS, in small letters."""

WORDLESS = frozenset(["mri", "mr", "image", "img", "scan", "volume"])
"""Names of modalities that do not say what was measured, in small letters; so are mere numbers."""

_WORDS = re.compile(r"[_.-]")


def only_kind(files: Sequence[Path], modalities: Sequence[str]) -> str | None:
    """Return the only kind of image in a tree, if the network's one modality names no kind.

    Networks trained on nnU-Net's folders call it "0".
    """
    words = (stem_of(file).rpartition("_")[2] for file in files)
    kinds = {word.casefold(): word for word in words if word.casefold() in SUFFIXES}
    name = modalities[0].casefold()
    unnamed = len(modalities) == 1 and (name.isdigit() or name in WORDLESS)
    return next(iter(kinds.values())) if unnamed and len(kinds) == 1 else None


def plain_collection(
    path: Path,
    files: Sequence[Path],
    images: Sequence[ImageName],
    modalities: Sequence[str],
    words: Mapping[str, str],
) -> list[Path]:
    """Return the files that are scans in a folder where no name states the first modality.

    Args:
        path: the folder.
        files: its volumes.
        images: those whose names state another modality.
        modalities: of the network.
        words: see `image_names.parse`.

    Raises:
        DataError: there are none, or files that seem to be images of one scan, which a network with
            several modalities would take for scans with the first one alone.
    """
    others = {image.path for image in images}
    unnamed = [file for file in files if file not in others]
    plain = [file for file in unnamed if not _is_label_map(file)]
    if len(plain) < len(unnamed):
        log.warning(
            "%d files such as %s are left out: by their names they are label maps or masks",
            len(unnamed) - len(plain),
            next(filter(_is_label_map, unnamed)),
        )
    if not plain:
        raise DataError(
            f"{path} has {len(files)} volumes, and by their names all are label maps, masks or "
            "images of other modalities; name a file to segment it nevertheless"
        )
    if len(modalities) > 1:
        _require_one_each(plain, modalities)
    warn_of_modality(plain, modalities, words)
    return plain


def _require_one_each(files: Sequence[Path], modalities: Sequence[str]) -> None:
    """Raise `DataError` if names of files differ in their last words alone, as of modalities.

    Such words say what was measured, or are the same for several scans, and are no numbers.
    """
    scans = defaultdict[tuple[Path, str], dict[str, Path]](dict)
    for file in files:
        *front, word = _WORDS.split(stem_of(file))
        if not word.isdecimal():
            scans[file.parent, "_".join(front)][word.casefold()] = file
    several = [images for images in scans.values() if len(images) > 1]
    times = Counter(frozenset(images) for images in several)
    alike = (i for i in several if i.keys() & SUFFIXES or times[frozenset(i)] > 1)
    if together := [*next(alike, {}).values()]:
        called = "{" + ", ".join(f"{modality}: WORD" for modality in modalities) + "}"
        raise DataError(
            f"{shorten(file.name for file in together)} in {together[0].parent} seem to be images "
            f"of one scan, and their names do not say which is {modalities[0]}, expected names "
            f"that end in {', '.join(f'_{name}' for name in modalities)}; say what they are "
            f"called by {override('names', called)}, or, if each is a scan of its own "
            f"with {modalities[0]} alone, name each as input"
        )


def _is_label_map(file: Path) -> bool:
    """Return whether the last word of a name is that of a label map, a mask or our other maps."""
    words = re.findall(r"[a-z]+", stem_of(file).lower())
    return bool(words) and words[-1] in NO_SCANS


def _last_word(file: Path) -> str:
    return _WORDS.split(stem_of(file))[-1]


def _other_than(modality: str) -> frozenset[str]:
    """Return the words that state another modality; `t1` may be a T1w, and `t1w` a T1."""
    name = modality.casefold()
    return SUFFIXES - {name, f"{name}w", name.removesuffix("w")}


def warn_of_unnamed(files: Sequence[Path], images: Sequence[ImageName], modality: str) -> None:
    """Warn of volumes whose names do not state a modality, in a folder where others do."""
    known, others = {image.path for image in images}, _other_than(modality)
    unnamed = [
        file
        for file in files
        if not (file in known or _is_label_map(file) or _last_word(file).casefold() in others)
    ]
    if unnamed:
        log.warning(
            "%d files such as %s are left out, since others have names that end in _%s and these "
            "do not; rename them, or name each as input",
            len(unnamed),
            unnamed[0],
            modality,
        )


def warn_of_modality(
    files: Sequence[Path], modalities: Sequence[str], words: Mapping[str, str]
) -> None:
    """Warn of files whose names state another modality than the first."""
    stated = _other_than(modalities[0]) | {name.casefold() for name in modalities[1:]}
    stating = ((file, _last_word(file)) for file in files)
    strange = [file for file, word in stating if words.get(word, word).casefold() in stated]
    if strange:
        log.warning("%s is taken as %s, whatever its name says", strange[0], modalities[0])
    if strange[1:]:
        log.warning("so are %d more, such as %s", len(strange[1:]), strange[1])
