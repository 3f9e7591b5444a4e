"""Root files of a derivative data set, kept up to date by concurrent jobs."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoseg import __version__
from neoseg.cohort.table import write_rows
from neoseg.errors import NeosegError
from neoseg.files import write_bytes, write_json
from neoseg.findings.markup import cell, uncell
from neoseg.labels import LabelSpace
from neoseg.locks import locked

log = logging.getLogger(__name__)

DESC = "neoseg"


_ROOT = {
    "README.md": "Segmentations of the whole image, by networks that `dataset_description.json` "
    f"names. What the integers mean stands in `desc-{DESC}_dseg.tsv`, volumes (ml) in "
    f"`desc-{DESC}_volumes.tsv`. Research software: not for diagnosis or treatment.\n",
    # Files without a BIDS name: pictures, tables, depth, and results for inputs not named by BIDS.
    ".bidsignore": f"pictures\npictures/**\ndesc-{DESC}_volumes.tsv\n/*_desc-{DESC}_*\n"
    f"/*_desc-confidence_*\ndesc-{DESC}_trust.tsv\ndesc-{DESC}_growth.tsv\n"
    f"/*_desc-{DESC}sets_*\n*_statmap.nii.gz\ndesc-{DESC}_*.txt\ndesc-{DESC}_*.ctbl\n",
}
"""Content of the files at the root of every data set."""


class DerivativeError(NeosegError):
    """A segmentation cannot be written to the requested place or in the requested form."""


@dataclass(frozen=True)
class Provenance:
    """Origin of a segmentation: the program, its version, and the run of the network."""

    name: str
    version: str
    run: str

    @classmethod
    def of(cls, run: str) -> Provenance:
        """Return the origin of what this version makes with the network of a run."""
        return cls("neoseg", __version__, run)

    @property
    def entry(self) -> dict[str, str]:
        """The entry in `GeneratedBy` of `dataset_description.json`."""
        text = f"Segmented by the network of run {self.run}"
        return {"Name": self.name, "Version": self.version, "Description": text}


def other_makers(output: Path, provenance: Provenance) -> tuple[bool, list[str]]:
    """Return whether a data set has segmentations of this run, and the descriptions of others.

    Program versions are ignored. Without a readable description, the result is `(True, [])`.
    """
    try:
        text = (output / "dataset_description.json").read_text(encoding="utf-8")
        listed = [item["Description"] for item in json.loads(text)["GeneratedBy"]]
    except (OSError, ValueError, KeyError, TypeError):
        return True, []
    own = provenance.entry["Description"]
    return own in listed or not listed, [text for text in dict.fromkeys(listed) if text != own]


def keep_table(path: Path, values: Iterable[tuple[str, ...]], space: LabelSpace) -> None:
    """Write a label table, or check that the existing one agrees; raises `DerivativeError`.

    Colours do not count: those that a table leaves out may be others in another version.
    """
    table = _tsv([("index", "name", "abbreviation", "color"), *values])
    if path.exists() and _uncoloured(path.read_text(encoding="utf-8")) != _uncoloured(table):
        raise DerivativeError(
            f"{path} is another label table than '{space.name}'; segmentations of both in one "
            "folder would be misread: choose another output folder"
        )
    if not path.exists():
        write_bytes(path, table.encode())


def _uncoloured(table: str) -> list[str]:
    return [line.rpartition("\t")[0] for line in table.splitlines()]


def is_described(output: Path) -> bool:
    """Return whether a data set has the files at its root that `describe` writes."""
    names = (f"desc-{DESC}_dseg.tsv", "dataset_description.json", *_ROOT)
    return all((output / name).is_file() for name in names)


def describe(output: Path, space: LabelSpace, provenance: Provenance) -> None:
    """Write label table, description and other root files; check those that already exist."""
    rows = [(str(v.index), v.name, v.abbreviation, v.color) for v in space.leaves]
    keep_table(output / f"desc-{DESC}_dseg.tsv", rows, space)

    for name, content in _ROOT.items():
        if not (output / name).exists():
            write_bytes(output / name, content.encode())

    path = output / "dataset_description.json"
    entry = provenance.entry
    generated: list[Any] = []
    description: Mapping[str, Any] = {
        "Name": f"{provenance.name} segmentations",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
    }
    if path.exists():
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            generated = list(description.get("GeneratedBy", []))
            is_ours = any(item.get("Name") == provenance.name for item in generated)
        except (ValueError, AttributeError, TypeError):
            is_ours = False
        if not is_ours:
            raise DerivativeError(
                f"{path} describes a data set that {provenance.name} did not make; choose another "
                "output folder, such as a new one below its derivatives/"
            )
    if entry not in generated:
        write_json(path, {**description, "GeneratedBy": [*generated, entry]}, indent=2)


def record_volumes(
    output: Path, target: Path, counts: Mapping[str, int], voxel_ml: float, space: LabelSpace
) -> None:
    """Add or replace the row of one label file in the table of volumes.

    Args:
        output: root of the data set.
        target: the label file, below `output`.
        counts: number of voxels of each class, by abbreviation.
        voxel_ml: volume of a voxel in ml.
        space: named in error messages.
    """
    values = {name: f"{count * voxel_ml:.6g}" for name, count in counts.items()}
    record_row(output, target, "volumes", values, space)


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read columns and rows of a table at the root of a data set."""
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        reader.fieldnames = [uncell(name) for name in reader.fieldnames or ()]
        rows = [{name: uncell(row[name] or "") for name in reader.fieldnames} for row in reader]
        return list(reader.fieldnames), rows


def record_row(
    output: Path, target: Path, table: str, values: Mapping[str, str], space: LabelSpace
) -> None:
    """Add or replace the row of one label file in a table at the root."""
    relative = target.relative_to(output)
    ids = dict(part.split("-", 1) for part in relative.parts[:-2] if "-" in part)
    row = {
        "file": relative.as_posix(),
        "participant_id": f"sub-{ids['sub']}" if "sub" in ids else "n/a",
        "session_id": f"ses-{ids['ses']}" if "ses" in ids else "n/a",
        **values,
    }
    path = table_path(output, table)
    rows: dict[str, dict[str, str]] = {}
    if path.exists():
        columns, existing = read_table(path)
        if columns != list(row):
            raise DerivativeError(
                f"{path} has other columns than the labels '{space.name}' give; remove it or "
                "choose another output folder"
            )
        rows = {old["file"]: old for old in existing}
    rows[row["file"]] = row
    ordered = [rows[name] for name in sorted(rows)]
    write_rows(path, tuple(row), (line.values() for line in ordered))


def table_path(output: Path, table: str) -> Path:
    """Return the path of a table at the root, such as "volumes"."""
    return output / f"desc-{DESC}_{table}.tsv"


def files_in(output: Path, table: str) -> set[str]:
    """Return the label files that have a row in a table at the root, by their path in the set."""
    path = table_path(output, table)
    return {row.get("file", "") for row in read_table(path)[1]} if path.is_file() else set()


def forget_row(output: Path, target: Path, table: str) -> None:
    """Remove the row of one label file from a table at the root, if it has one."""
    path, name = table_path(output, table), target.relative_to(output).as_posix()
    if not path.is_file():
        return
    columns, rows = read_table(path)
    if any(row["file"] == name for row in rows):
        write_rows(path, columns, (row.values() for row in rows if row["file"] != name))


def _tsv(rows: Iterable[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows(
        map(cell, row) for row in rows
    )
    return buffer.getvalue()


@contextmanager
def tables_locked(folder: Path) -> Iterator[None]:
    """Lock the tables of a folder, so that one process at a time changes them."""
    path = folder / ".lock"
    with locked(path):
        try:
            yield
        finally:
            # The lock file is no part of the data set. Waiting processes notice that it is gone and
            # create a new one.
            with suppress(OSError):  # Windows cannot delete open files
                path.unlink(missing_ok=True)


def require_utf8(source: Path) -> None:
    """Raise `DerivativeError` for a file whose name tables and JSON cannot hold."""
    try:
        str(source).encode()
    except UnicodeEncodeError:
        raise DerivativeError(
            "its name is not UTF-8, which tables and JSON need; rename it, such as with convmv"
        ) from None
