"""Which files are volumes, by their names, and what becomes of those that are none."""

from __future__ import annotations

import os
import shlex
from itertools import islice
from pathlib import Path

from neoseg.foreign import ForeignError, opened

ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".mha", ".hdr")
"""Of the pair .hdr and .img the header stands for both."""

APART = (".mhd", ".nhdr")
"""Headers whose voxels lie in a file of any name, which are not read."""

MOST_LOOKED_AT = 32
"""Files of a folder that are opened to see whether it holds DICOM."""


def ending_of(name: str) -> str:
    """Return the ending of a volume's name as it is written there, "" for other names."""
    found = next((e for e in (*ENDINGS, ".img") if name.lower().endswith(e)), "")
    return name[len(name) - len(found) :]


def stem_of(path: Path) -> str:
    """Return a volume's name without its ending."""
    return path.name.removesuffix(ending_of(path.name) or path.suffix)


def is_volume(path: Path) -> bool:
    """Tell by its name whether a file of a folder is a volume.

    Hidden files are drafts of an interrupted copy, or macOS's notes about files.
    """
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def volumes_in(folder: Path) -> list[Path]:
    """Return the volumes of a folder by their endings, as `ENDINGS` has them, and names."""
    files = filter(is_volume, folder.iterdir() if folder.is_dir() else ())
    return sorted(files, key=lambda path: (ENDINGS.index(ending_of(path.name).lower()), path.name))


def fault_of(path: Path) -> tuple[str, str]:
    """Return why a file cannot be read at all and the kind of that, "" where it may be."""
    if not path.is_file():
        link = path.is_symlink()
        return "is a link to a file that is not there" if link else "is no file", "missing-file"
    return ("is empty (0 bytes)", "empty-file") if path.stat().st_size == 0 else ("", "")


def dicom_line(path: Path) -> str:
    """Return the command that converts the DICOM files that a path names, "" if they are none."""
    files = [path] if path.is_file() else _some_files(path)
    folder = path if path.is_dir() else path.parent
    if not any(map(_is_dicom, files)):
        return ""
    made = shlex.join(["dcm2niix", "-z", "y", "-f", "%i_%p_%s", "-o", "nifti", str(folder)])
    return f"mkdir -p nifti && {made}"


def _some_files(folder: Path) -> list[Path]:
    walked = (Path(place) / name for place, _, names in os.walk(folder) for name in sorted(names))
    return list(islice(walked, MOST_LOOKED_AT))


def _is_dicom(path: Path) -> bool:
    try:
        with opened(path, 2**40) as stream:
            return stream.read(132)[128:] == b"DICM"
    except ForeignError:
        return False
