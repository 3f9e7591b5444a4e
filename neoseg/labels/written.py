"""Write label tables in the formats of other programs."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from neoseg.files import write_text
from neoseg.labels.table import LabelTable, Leaf


def safe_names(leaves: Sequence[Leaf]) -> list[str]:
    """Return names of letters, digits, `_`, `.` and `-`, with indices if they are not unique."""
    names = [re.sub(r"[^0-9A-Za-z_.-]+", "_", leaf.name).strip("_") or "_" for leaf in leaves]
    while len(set(names)) < len(names):
        names = [
            f"{name}_{leaf.index}" if names.count(name) > 1 else name
            for name, leaf in zip(names, leaves, strict=True)
        ]
    return names


def ending(kind: str) -> str:
    """Return the file name extension of a format in `KINDS`."""
    return ".ctbl" if kind == "slicer" else ".txt"


def write_table(path: Path, table: LabelTable, kind: str) -> None:
    """Write the leaves of a table in one of the formats in `KINDS`."""
    write_text(path, KINDS[kind](table))


def _freesurfer(table: LabelTable) -> str:
    rows = zip(_ordered(table), safe_names(_ordered(table)), strict=True)
    lines = [f"{leaf.index:<6} {name} {_rgb(leaf)} 0" for leaf, name in rows]
    return _text("# No. Label-Name R G B A", lines)


def _itksnap(table: LabelTable) -> str:
    lines = []
    for leaf in _ordered(table):
        visible = 0 if table.is_background(leaf) else 1
        name = leaf.name.replace('"', "'").replace("\n", " ")
        lines.append(f'{leaf.index:5} {_rgb(leaf)} {visible} {visible} {visible} "{name}"')
    return _text("# IDX R G B A VIS MSH LABEL", lines)


def _slicer(table: LabelTable) -> str:
    rows = zip(_ordered(table), safe_names(_ordered(table)), strict=True)
    lines = [
        f"{leaf.index} {name} {_rgb(leaf)} {0 if table.is_background(leaf) else 255}"
        for leaf, name in rows
    ]
    return _text(f"# Color table file {table.name}\n# {len(lines)} values", lines)


def _mrtrix(table: LabelTable) -> str:
    """Number the structures from 1 without gaps, as required for the nodes of a connectome.

    The background is 0 under its own name: `labelconvert` matches names, and a generic one such as
    "Unknown" may be that of a structure.
    """
    rows = list(zip(_ordered(table), safe_names(_ordered(table)), strict=True))
    rows.sort(key=lambda row: not table.is_background(row[0]))
    lines = [
        f"{number} {re.sub(r'[^0-9A-Za-z_.-]+', '_', leaf.abbreviation)} {name} {_rgb(leaf)} "
        f"{255 if number else 0}"
        for number, (leaf, name) in enumerate(rows)
    ]
    return _text("# node abbreviation name R G B A", lines)


KINDS: dict[str, Callable[[LabelTable], str]] = {
    "freesurfer": _freesurfer,
    "itksnap": _itksnap,
    "slicer": _slicer,
    "mrtrix": _mrtrix,
}
"""FreeSurfer's lookup table, ITK-SNAP's label file, 3D Slicer's `.ctbl`, and the target table of
mrtrix3's `labelconvert`, whose source table is FreeSurfer's.
"""


def _ordered(table: LabelTable) -> list[Leaf]:
    return sorted(table.leaves, key=lambda leaf: leaf.index)


def _rgb(leaf: Leaf) -> str:
    return " ".join(str(int(leaf.color[start : start + 2], 16)) for start in (1, 3, 5))


def _text(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *lines]) + "\n"
