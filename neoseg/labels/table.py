"""The label table: a user's description of the structures in a data set."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from neoseg.errors import NeosegError
from neoseg.findings.settings import Section, own_errors
from neoseg.foreign import ForeignError, read_yaml
from neoseg.labels.colours import colour_of

LARGEST_INDEX = 2**31 - 2**16
"""Largest integer of a leaf: 32 bits with a sign, less some for classes in maps of label sets."""

HEX_COLOUR = r"^#[0-9a-fA-F]{6}$"


class LabelError(NeosegError):
    """A label table, label set or protocol that contradicts itself."""


def _printable(text: str) -> str:
    """Return a name unless it has control characters or `${`; raises `ValueError`.

    Spaces of all kinds, joiners and marks of direction belong to the writing of some languages;
    what reorders or breaks a line, or moves a terminal's cursor, does not.
    """
    kinds = {unicodedata.category(letter) for letter in text}
    if kinds & {"Cc", "Cs", "Zl", "Zp"} or set(text) & set("\u202a\u202b\u202c\u202d\u202e"):
        raise ValueError(f"{text!r} has characters that cannot be printed; leave them out")
    if "${" in text:
        raise ValueError(f"{text!r} has ${{, which stands for a value in configurations; rename it")
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]


def _require_no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(
            f"{str(value).lower()} is what YAML makes of words such as ON, yes and no; put the "
            "name in quotation marks"
        )
    return value


Reference = Annotated[int | str, BeforeValidator(_require_no_boolean)]
"""What a leaf or class is called in a file: index, name or abbreviation."""


class Leaf(Section):
    """One of the K mutually exclusive structures."""

    index: int = Field(ge=0, le=LARGEST_INDEX, description="the integer in the label file")
    name: Name
    abbreviation: Name
    color: str = Field(
        default_factory=lambda given: colour_of(given.get("index", 0)),
        pattern=HEX_COLOUR,
        description="in pictures and tables; without one, one of its own",
    )

    @property
    def spellings(self) -> set[str]:
        """What the leaf can be called, in lower case: index, name and abbreviation."""
        return {str(self.index), self.name.casefold(), self.abbreviation.casefold()}


class ClassRow(Section):
    """A super-class: a named set of leaves."""

    abbreviation: Name
    name: Name
    leaves: tuple[Reference, ...] = Field(
        min_length=2, description="indices, names or abbreviations of leaves or other classes"
    )
    color: str = Field(default="#ffffff", pattern=HEX_COLOUR)


class LabelTable(BaseModel):
    """Leaves, super-classes and left-right pairs, as written in `conf/labels/*.yaml`.

    `background` names the leaf for "none of the structures": the label outside the field of view,
    and where an annotator did not draw a structure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    background: Reference
    leaves: tuple[Leaf, ...] = Field(min_length=2, max_length=254)
    classes: tuple[ClassRow, ...] = ()
    mirror: tuple[tuple[int, int], ...] = ()

    def is_background(self, leaf: Leaf) -> bool:
        """Return whether a leaf stands for "none of the structures"."""
        return str(self.background).casefold() in leaf.spellings

    @model_validator(mode="after")
    def _names_are_unique(self) -> LabelTable:
        indices = Counter(leaf.index for leaf in self.leaves)
        spellings = [leaf.spellings for leaf in self.leaves]
        spellings += [{row.name.casefold(), row.abbreviation.casefold()} for row in self.classes]
        names = Counter(name for each in spellings for name in each)
        duplicates = [f"index {i}" for i, n in indices.items() if n > 1]
        duplicates += [f"name '{key}'" for key, n in names.items() if n > 1]
        if duplicates:
            raise ValueError(
                f"label table '{self.name}' uses {', '.join(duplicates)} more than once; "
                "every index, name and abbreviation must be unique (case does not count)"
            )
        paired = Counter(index for pair in self.mirror for index in pair)
        wrong = [i for i, n in paired.items() if n > 1 or i not in indices]
        if wrong:
            raise ValueError(
                f"label table '{self.name}': mirror names {wrong}, each of which must be the index "
                "of a leaf and stand in one pair only"
            )
        if any(leaf.index in paired for leaf in self.leaves if self.is_background(leaf)):
            raise ValueError(
                f"label table '{self.name}': mirror pairs the background '{self.background}', "
                "which has no side; remove that pair"
            )
        return self

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "label table") -> LabelTable:
        """Validate `raw` (plain containers).

        Raises:
            LabelError: the table is invalid; the message names `source` and every invalid entry.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            lines = [
                f"  {'.'.join(str(part) for part in item['loc']) or 'table'}: {item['msg']}"
                for item in own_errors(error)
            ]
            raise LabelError(f"{source} is not valid:\n" + "\n".join(lines)) from None

    @classmethod
    def read(cls, path: Path) -> LabelTable:
        """Read a table from a YAML file; raises `LabelError` that names the file."""
        try:
            return cls.parse(read_yaml(path), str(path))
        except ForeignError as error:
            raise LabelError(f"{error}; a label table has name, background and leaves") from None
