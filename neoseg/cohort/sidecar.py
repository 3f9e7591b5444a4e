"""What the sidecars of a table (`participants.json`, `sessions.json`) say about its columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoseg.findings.problems import Problems
from neoseg.foreign import read_json

FROM_BIRTH = re.compile(
    r"\bpost-?\s?(natal|partum|term) (age|week|day)|\bchronological|"
    r"\b(weeks|days|age) post-?\s?(natal|partum|term)|\b(corrected|adjusted) (age|week|day)|"
    r"(?<!not )\b(since|after|from) (birth|delivery|term)\b|\bof life\b|"
    r"\b(weeks|days) old\b|\bpna\b",
    re.I,
)
FROM_CONCEPTION = re.compile(
    r"(?<!not )\b(post-?\s?menstrual|last menstrual|(post-?\s?)?concept|pma|pca|lmp)", re.I
)
GESTATION = re.compile(r"(?<!not )(?<!for )\b(gestation|ga\b)", re.I)
SUM = re.compile(r"\bplus\b|\bsum\b|\+", re.I)
OF_SCAN = re.compile(r"scan|session|visit|imaging|\bmri?\b", re.I)
AT_BIRTH = re.compile(r"\bat birth\b", re.I)
PMA_AT_BIRTH = re.compile(r"\b(pma|pca|(menstrual|concept\w*)( age)?) at birth\b", re.I)
OF_MOTHER = re.compile(r"\bage of the mother|\bmother'?s age|\bmaternal age", re.I)
AT_SCAN = re.compile(
    r"\bat (the )?((time|day|date) of )?(the )?((fo?etal|brain|mri?) )*"
    r"(scan|session|visit|imaging|mri?\b)",
    re.I,
)
ABOUT_BIRTH = re.compile(r"birth|born|deliver", re.I)
FETAL = re.compile(r"fo?et(al|us)|prenatal|antenatal|in[ -]?utero", re.I)
AFTER_BIRTH = re.compile(r"neonat|newborn|infant|post-?\s?natal|after birth|\bnot\b", re.I)
"""Words of a sidecar that say from when an age counts, and of when it is."""

GESTATIONAL = re.compile(
    r"\bgest(ation(al)?)? ?(age|weeks?)\b|\bweeks? gestation|\b(ga|pma|pca)\b|"
    r"\bpost ?(menstrual|concept\w*) ?age\b"
)
"""Names of columns with an age of a fetus or newborn, in lower case without punctuation."""


def sidecars_of(table: Path, root: Path) -> list[Path]:
    """Return where BIDS may describe a table, nearest first, up to the folder `root`."""
    names = dict.fromkeys([table.stem, table.stem.rpartition("_")[2]])
    folders = [folder for folder in table.parents if folder.is_relative_to(root)]
    return [folder / f"{name}.json" for folder in folders for name in names]


@dataclass(frozen=True)
class Sidecar:
    """The entries of a table's sidecars by column, in lower case, each with its file's name.

    `name` is the file that can describe the other columns.
    """

    name: str
    entries: Mapping[str, tuple[str, Mapping[str, Any]]]

    @classmethod
    def read(cls, paths: Sequence[Path], problems: Problems) -> Sidecar:
        """Read those of `paths` that exist; of a column in several, the first counts."""
        entries: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for path in filter(Path.is_file, paths):
            try:
                content = read_json(path).items()
            except (ValueError, AttributeError) as error:
                found = (path, f"cannot be read: {error}", "JSON", "units are not known")
                if all(str(path) != known.where for known in problems.warnings):
                    problems.warn(*found, "bad-table")
                continue
            for column, entry in content:
                if isinstance(entry, dict):
                    entries.setdefault(column.strip().casefold(), (path.name, entry))
        return cls(paths[-1].name, entries)

    def file(self, column: str) -> str:
        """Return the name of the file that describes a column, or in which that can be done."""
        return self.entries.get(column, (self.name,))[0]

    def unit(self, column: str) -> str | None:
        """Return the unit that is given for a column, None without one."""
        entry = self._entry(column)
        return str(entry["Units"]) if "Units" in entry else None

    def text(self, column: str) -> str:
        """Return all that is said of a column."""
        entry = self._entry(column)
        return " ".join(str(entry.get(key, "")) for key in ("LongName", "Description", "Units"))

    def _entry(self, column: str) -> Mapping[str, Any]:
        return self.entries.get(column, ("", {}))[1]


def other_age(column: str, text: str) -> str:
    """Return which other age the text of a sidecar says that a column has, or ""."""
    if PMA_AT_BIRTH.search(text):
        return "" if "birth" in column else "is the age at birth"
    if FROM_CONCEPTION.search(text) or (GESTATION.search(text) and SUM.search(text)):
        return ""
    if FROM_BIRTH.search(text):  # gestation may be named for what it is not
        return "counts from birth"
    if OF_MOTHER.search(text):
        return "is of the mother"
    at_birth = AT_BIRTH.search(text) and not OF_SCAN.search(text)
    return "is the age at birth" if at_birth and "birth" not in column else ""


def gestational_columns(names: Iterable[str], sidecar: Sidecar) -> tuple[list[str], list[str]]:
    """Return columns with gestational ages: at the scan by the sidecar, and at an unknown time."""
    known, unknown = list[str](), list[str]()
    for name in names:
        words, text = re.sub(r"[\W_]+", " ", name.casefold()), sidecar.text(name.casefold())
        if GESTATIONAL.search(words) and not ABOUT_BIRTH.search(f"{words} {text}"):
            (known if AT_SCAN.search(text) else unknown).append(name)
    return known, sorted(unknown, key=lambda name: OF_SCAN.search(name) is None)


def says_fetal(text: str) -> bool:
    """Return whether a text speaks of fetuses, and not of newborns as well."""
    return FETAL.search(text) is not None and AFTER_BIRTH.search(text) is None
