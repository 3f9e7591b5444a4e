"""Depths at which a scan can be annotated next, and their costs."""

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
    """Minutes that an annotation takes, by depth."""

    full: float = Field(default=60.0, gt=0)
    superclass: float | None = Field(default=None, gt=0)
    slice: float = Field(default=1.0, gt=0)
    named: dict[str, float] | None = None


class SliceSettings(Section):
    """The slices that are offered as a depth of annotation."""

    count: int = Field(default=5, ge=0)
    plane: Literal["sagittal", "coronal", "axial"] = "axial"

    @property
    def name(self) -> str:
        """Name of the depth in tables."""
        return f"{self.plane}_{self.count}"


def depths_of(plan: Plan | None, space: LabelSpace) -> dict[str, Protocol]:
    """Return the depths on offer besides slices: full, the run's protocols, and super-classes.

    Depths with the same label sets are offered once, under the first name.

    Raises:
        ConfigError: if cohorts use the same name for different protocols.
    """
    candidates = {FULL: Protocol.full(space)}
    for source in () if plan is None else plan.sources:
        for protocol in source.protocols.values():
            if candidates.get(protocol.name, protocol).sets != protocol.sets:
                raise ConfigError(
                    f"the cohorts of the run mean two things by the protocol '{protocol.name}'; "
                    "give it another name in one of them"
                )
            if protocol.slices is None:
                candidates[protocol.name] = protocol
    for entry in space.classes[space.num_leaves :]:
        try:
            merged = {"name": entry.abbreviation, "merge": [entry.abbreviation]}
            candidates.setdefault(entry.abbreviation, Protocol.parse(space, merged))
        except LabelError:  # the class is a single leaf under another name
            continue
    distinct: dict[str, Protocol] = {}
    for name, protocol in candidates.items():
        is_duplicate = any(protocol.sets == other.sets for other in distinct.values())
        if protocol.stream != UNLABELLED and not is_duplicate:
            distinct[name] = protocol
    return distinct


def minutes_of(settings: MinutesSettings, depths: Mapping[str, Protocol]) -> dict[str, float]:
    """Return the minutes of each depth; raises `ConfigError` for an invalid `minutes.named`."""
    named = settings.named or {}
    unknown = sorted(set(named) - set(depths))
    wrong = sorted(name for name, value in named.items() if not value > 0)
    if unknown or wrong:
        raise ConfigError(
            f"minutes.named has {', '.join(unknown or wrong)}, expected a positive number for "
            f"some of {', '.join(depths)}"
        )
    num_structures = len(set(depths[FULL].sets)) - 1  # without background
    minutes = {}
    for name, protocol in depths.items():
        share = max(len(set(protocol.sets)) - 1, 1) / num_structures
        guess = settings.superclass if settings.superclass is not None else settings.full * share
        minutes[name] = named.get(name, settings.full if name == FULL else guess)
    return minutes


def actions_of(
    now: Protocol,
    doubt: Doubt,
    depths: Mapping[str, Protocol],
    minutes: Mapping[str, float],
    price_of_slice: float,
    slices: SliceSettings,
    worth: Mapping[str, float],
) -> list[Action]:
    """Return the actions for a scan that do not lose information of its current annotation.

    Args:
        now: current annotation of the scan.
        doubt: doubt that is left in the scan.
        depths, minutes: depths on offer, and their costs.
        price_of_slice, slices: minutes per slice, and the slices on offer.
        worth: learnt worth of depths in full annotations, used instead of the doubt they settle.
    """
    actions = [
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
        actions.append(Action(slices.name, price, share))
    return actions
