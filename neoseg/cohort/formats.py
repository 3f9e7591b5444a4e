"""Recognise volumes by their file names, and detect DICOM files."""

import os
import shlex
from itertools import islice
from pathlib import Path

from neoseg.foreign import ForeignError, opened

ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".mha", ".hdr")
"""Endings of volumes, in order of preference; .hdr represents the pair .hdr and .img."""

SEGMENTATION = ".seg.nrrd"
"""Ending of 3D Slicer's segmentations, of which a file's stem has no part."""

APART = (".mhd", ".nhdr")
"""Detached headers, whose voxels are in a file of any name; not supported."""

MAX_DICOM_CHECKS = 32
"""Number of files of a folder that are opened to detect DICOM."""


def ending_of(name: str) -> str:
    """Return the ending of a volume's name with its case preserved, "" for other names."""
    ending = next((e for e in (*ENDINGS, ".img") if name.lower().endswith(e)), "")
    return name[len(name) - len(ending) :]


def stem_of(path: Path) -> str:
    """Return a volume's name without its ending."""
    return path.name.removesuffix(ending_of(path.name) or path.suffix)


def is_volume(path: Path) -> bool:
    """Return whether a file is a volume, by its name.

    Hidden files are drafts of an interrupted copy or macOS metadata, and do not count.
    """
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def volumes_in(folder: Path) -> list[Path]:
    """Return the volumes of a folder, sorted by ending in the order of `ENDINGS`, then by name."""
    files = filter(is_volume, folder.iterdir() if folder.is_dir() else ())
    return sorted(files, key=lambda path: (ENDINGS.index(ending_of(path.name).lower()), path.name))


def fault_of(path: Path) -> tuple[str, str]:
    """Return why a file cannot be read and the kind of that problem; "", "" if it may be read."""
    if not path.is_file():
        link = path.is_symlink()
        return "is a link to a file that is not there" if link else "is no file", "missing-file"
    return ("is empty (0 bytes)", "empty-file") if path.stat().st_size == 0 else ("", "")


def dicom_line(path: Path) -> str:
    """Return the command that converts the DICOM files at a path, "" if there are none."""
    files = [path] if path.is_file() else _some_files(path)
    folder = path if path.is_dir() else path.parent
    if not any(map(_is_dicom, files)):
        return ""
    command = shlex.join(["dcm2niix", "-z", "y", "-f", "%i_%p_%s", "-o", "nifti", str(folder)])
    return f"mkdir -p nifti && {command}"


def _some_files(folder: Path) -> list[Path]:
    files = (Path(place) / name for place, _, names in os.walk(folder) for name in sorted(names))
    return list(islice(files, MAX_DICOM_CHECKS))


def _is_dicom(path: Path) -> bool:
    try:
        with opened(path, 2**40) as stream:
            return stream.read(132)[128:] == b"DICM"
    except ForeignError:
        return False
