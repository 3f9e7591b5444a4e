"""Measures of a scan, and the kinds of faults that they indicate."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from neoseg.audit.evidence import Place


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        title: human-readable name.
        least: minimum deviation, in the unit of the measure, to be listed.
        floor: added to the spread over scans, which may be 0.
        signed: whether deviations in both directions count.
        explains: whether it explains findings of later kinds on the same structures.
    """

    title: str
    least: float
    floor: float
    signed: bool = False
    explains: bool = True


KINDS = {
    "swap": Kind("labels exchanged", 0.5, 0.05),
    "not_drawn": Kind("probably not drawn", 0.5, 0.05),
    "slices": Kind("slices forgotten", 1.0, 0.2),
    "shift": Kind("all labels displaced", 0.75, 0.15, signed=True),
    "border": Kind("border drawn elsewhere", 0.25, 0.05, signed=True),
    "island": Kind("island", 4.0, 2.0, explains=False),
    "contradiction": Kind("contradicted", 0.05, 0.01),
}
"""Kinds by precedence: a finding that an earlier kind explains is not listed under a later one."""


@dataclass(frozen=True)
class Measure:
    """A value measured on one scan and structure, whether or not it indicates a fault.

    Attributes:
        kind: key of `KINDS`.
        structure: name, the same in all scans.
        value: share of voxels ("swap", "not_drawn", "contradiction"), number of planes ("slices"),
            or voxels ("island": a count; "shift", "border": a signed length).
        place: voxel in canonical axes.
        leaves: affected leaves; empty if it affects all.
        volume: affected volume, ml.
        note: human-readable description.
    """

    kind: str
    structure: str
    value: float
    place: Place
    leaves: tuple[int, ...]
    volume: float = 0.0
    note: str = ""

    def moved(self, corner: Place) -> Measure:
        """Return the measure with `place` in the whole scan, given the corner of the crop."""
        x, y, z = (a + b for a, b in zip(self.place, corner, strict=True))
        return replace(self, place=(x, y, z))

    def plain(self) -> dict[str, Any]:
        """Convert to plain containers."""
        return asdict(self)

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """Invert `plain`; raises `ValueError`, `KeyError` or `TypeError` for invalid content."""
        x, y, z = map(int, raw["place"])
        if raw["kind"] not in KINDS:
            raise ValueError(f"{raw['kind']!r} is not a kind of fault")
        return cls(
            *(str(raw["kind"]), str(raw["structure"]), float(raw["value"]), (x, y, z)),
            tuple(map(int, raw["leaves"])),
            float(raw["volume"]),
            str(raw["note"]),
        )
