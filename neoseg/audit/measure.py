"""What is measured of each scan, and the kinds of faults that this may tell of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from neoseg.audit.evidence import Place


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        title: for people.
        least: value, in its own unit, from which it is worth a look.
        floor: added to the spread over scans, so that scans that agree perfectly stay comparable.
        signed: whether both directions count.
        explains: whether it accounts for what kinds further down see of the same structures.
    """

    title: str
    least: float
    floor: float
    signed: bool = False
    explains: bool = True


KINDS = {
    "swap": Kind("left and right exchanged", 0.5, 0.05),
    "not_drawn": Kind("probably not drawn", 0.5, 0.05),
    "slices": Kind("slices forgotten", 1.0, 0.2),
    "shift": Kind("all labels displaced", 0.75, 0.15, signed=True),
    "border": Kind("border drawn elsewhere", 0.25, 0.05, signed=True),
    "island": Kind("island", 4.0, 2.0, explains=False),
    "contradiction": Kind("contradicted", 0.05, 0.01),
}
"""In the order in which they are asked: what an earlier one explains, a later one does not list."""


@dataclass(frozen=True)
class Measure:
    """A value of one scan and structure; most are those of sound labels.

    Attributes:
        kind: key of `KINDS`.
        structure: name, the same in all scans.
        value: share of voxels ("swap", "not_drawn", "contradiction"), planes ("slices"), or voxels
            ("island": a count; "shift", "border": a signed length).
        place: voxel in canonical axes.
        leaves: that it is about; none is all of them.
        volume: ml that it is about.
        note: what was seen, for people.
    """

    kind: str
    structure: str
    value: float
    place: Place
    leaves: tuple[int, ...]
    volume: float = 0.0
    note: str = ""

    def moved(self, corner: Place) -> Measure:
        """Return the same of the whole scan, measured in a part that begins at a corner."""
        x, y, z = (a + b for a, b in zip(self.place, corner, strict=True))
        return replace(self, place=(x, y, z))

    def plain(self) -> dict[str, Any]:
        """Return plain containers."""
        return asdict(self)

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Undo `plain`; raises `ValueError`, `KeyError` or `TypeError` for what it never gives."""
        x, y, z = map(int, raw["place"])
        if raw["kind"] not in KINDS:
            raise ValueError(f"{raw['kind']!r} is no kind of fault")
        return cls(
            *(str(raw["kind"]), str(raw["structure"]), float(raw["value"]), (x, y, z)),
            tuple(map(int, raw["leaves"])),
            float(raw["volume"]),
            str(raw["note"]),
        )
