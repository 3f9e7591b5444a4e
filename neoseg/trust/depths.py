"""How deep a scan may be annotated next, and what each depth costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from neoseg.cohort.annotation import FULL, UNLABELLED
from neoseg.cohort.plan import Plan
from neoseg.findings.settings import ConfigError, Section
from neoseg.labels import LabelError, LabelSpace, Protocol
from neoseg.labels.protocol import PLANE_AXIS
from neoseg.trust.annotation_plan import Action
from neoseg.trust.doubt import Doubt


class MinutesSettings(Section):
    """What annotating a scan costs."""

    full: float = Field(default=60.0, gt=0)
    superclass: float | None = Field(default=None, gt=0)
    slice: float = Field(default=1.0, gt=0)
    named: dict[str, float] | None = None


class SliceSettings(Section):
    """Which slices are offered."""

    count: int = Field(default=5, ge=0)
    plane: Literal["sagittal", "coronal", "axial"] = "axial"

    @property
    def name(self) -> str:
        """The protocol in tables."""
        return f"{self.plane}_{self.count}"


def depths_of(plan: Plan | None, space: LabelSpace) -> dict[str, Protocol]:
    """Return the depths on offer besides slices: full, the run's protocols, and super-classes."""
    found = {FULL: Protocol.full(space)}
    for source in () if plan is None else plan.sources:
        for protocol in source.protocols.values():
            if found.get(protocol.name, protocol).sets != protocol.sets:
                raise ConfigError(
                    f"the cohorts of the run mean two things by the protocol '{protocol.name}'; "
                    "give it another name in one of them"
                )
            if protocol.slices is None:
                found[protocol.name] = protocol
    for entry in space.classes[space.num_leaves :]:
        try:
            merged = {"name": entry.abbreviation, "merge": [entry.abbreviation]}
            found.setdefault(entry.abbreviation, Protocol.parse(space, merged))
        except LabelError:  # a class that is one leaf by another name
            continue
    told: dict[str, Protocol] = {}
    for name, protocol in found.items():
        same = any(protocol.sets == other.sets for other in told.values())
        if protocol.stream != UNLABELLED and not same:
            told[name] = protocol
    return told


def minutes_of(settings: MinutesSettings, depths: Mapping[str, Protocol]) -> dict[str, float]:
    """Return the minutes of each depth; raises `ConfigError` for names that there are not."""
    named = settings.named or {}
    unknown = sorted(set(named) - set(depths))
    wrong = sorted(name for name, value in named.items() if not value > 0)
    if unknown or wrong:
        raise ConfigError(
            f"minutes.named has {', '.join(unknown or wrong)}, expected a positive number for "
            f"some of {', '.join(depths)}"
        )
    everything = len(set(depths[FULL].sets)) - 1  # the background is what is left
    found = {}
    for name, protocol in depths.items():
        share = max(len(set(protocol.sets)) - 1, 1) / everything
        guess = settings.superclass if settings.superclass is not None else settings.full * share
        found[name] = named.get(name, settings.full if name == FULL else guess)
    return found


def actions_of(
    now: Protocol,
    doubt: Doubt,
    depths: Mapping[str, Protocol],
    minutes: Mapping[str, float],
    price_of_slice: float,
    slices: SliceSettings,
    worth: Mapping[str, float],
) -> list[Action]:
    """Return what can be done with a scan so that nothing that is known of it is lost.

    Args:
        now: how it is annotated.
        doubt: what is open in it.
        depths, minutes: on offer, and their prices.
        price_of_slice, slices: likewise.
        worth: of a depth in full annotations, where that was learnt: in place of what it settles.
    """
    found = [
        Action(name, minutes[name], worth[name])
        if name in worth
        else Action(name, minutes[name], settles=name)
        for name, depth in depths.items()
        if sum(doubt.settled[name].values()) > 0
        and (
            name == FULL
            or (
                now.slices is None
                and all(a <= b for a, b in zip(depth.sets, now.sets, strict=True))
            )
        )
    ]
    if slices.count and now.stream == UNLABELLED:
        length = doubt.extent[PLANE_AXIS[slices.plane]]
        price = price_of_slice * min(slices.count, length)
        share = worth.get(slices.name, min(1.0, slices.count / length))
        found.append(Action(slices.name, price, share))
    return found
