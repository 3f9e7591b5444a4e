"""Which files of a folder are scans to segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg.data import DataError

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class ScanFiles:
    """One scan to segment: a file per modality, None where it lacks one (never the first)."""

    images: tuple[Path | None, ...]

    @property
    def source(self) -> Path:
        """The first modality's file, whose grid the segmentation gets."""
        assert self.images[0] is not None
        return self.images[0]


def find_scans(path: Path, modalities: Sequence[str]) -> list[ScanFiles]:
    """Return the scans that `path` names, sorted.

    A file is one scan. In a folder, searched with all its subfolders, every file whose name ends
    in the first modality (`_T2w.nii.gz`) is one; where a session has several, the bias-corrected
    `desc-restore` goes first, so that a dHCP tree gives one segmentation a session. A folder
    without such names is taken as a plain collection in which every NIfTI file is a scan. The
    other modalities are files of the same name but for the modality.

    Raises:
        DataError: nothing there, or no NIfTI file in the folder.
    """
    if path.is_file():
        return [_with_partners(path, modalities)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a NIfTI file or a folder as input")
    # Hidden files are drafts of an interrupted copy, or macOS's notes about files.
    files = sorted(
        p
        for p in path.rglob("*")
        if p.name.endswith(ENDINGS) and not p.name.startswith(".") and p.is_file()
    )
    if not files:
        raise DataError(f"{path} has no file that ends in {' or '.join(ENDINGS)}")
    named = [p for p in files if stem(p).endswith(f"_{modalities[0]}")]
    if not named:
        derived = ("_dseg", "_mask", "_probseg", *(f"_{m}" for m in modalities[1:]))
        plain = [p for p in files if not stem(p).endswith(derived)]
        return [_with_partners(p, modalities) for p in plain]
    by_session: dict[tuple[Path, str], Path] = {}
    for file in named:
        key = (file.parent, stem(file).replace("_desc-restore", ""))
        if key not in by_session or "_desc-restore" in file.name:
            by_session[key] = file
    return [_with_partners(p, modalities) for p in sorted(by_session.values())]


def stem(path: Path) -> str:
    """Return the file's name without `.nii` or `.nii.gz`."""
    for ending in ENDINGS:
        if path.name.endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def _with_partners(path: Path, modalities: Sequence[str]) -> ScanFiles:
    first = modalities[0]
    images: list[Path | None] = [path]
    for other in modalities[1:]:
        partner = path.with_name(path.name.replace(f"_{first}.", f"_{other}."))
        images.append(partner if partner != path and partner.is_file() else None)
    return ScanFiles(tuple(images))
