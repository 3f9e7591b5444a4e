"""Which scans to annotate next, and how deep, for at most so many minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.trust.doubt import Doubt


@dataclass(frozen=True)
class Action:
    """One depth of annotation: its price in minutes, and the share of its doubt that it settles
    (slices: their part of the scan)."""

    name: str
    minutes: float
    share: float = 1.0
    settles: str = "full"


@dataclass(frozen=True)
class Choice:
    """One row of the plan.

    Attributes:
        scan, action: positions of the scan, and the action.
        own: doubt (see `weighed`) that it settles in the scan itself, of `open_` that is there.
        gain: what it adds to the plan, over all scans of the pool.
        like: scans of the pool for which it stands more than any choice before it.
    """

    scan: int
    action: Action
    own: float
    open_: float
    gain: float
    like: int


def likeness(doubts: Sequence[Doubt]) -> np.ndarray:
    """Return how like each other scans look, `[S, S]`, 1 for themselves and for copies.

    exp(-d / m) with d the mean absolute difference over what is told of their appearance, each in
    its own spread over the pool, and m the median d of two scans.
    """
    names = sorted(set().union(*(doubt.appearance for doubt in doubts)))
    rows = np.array([[d.appearance.get(name, np.nan) for name in names] for d in doubts])
    rows = np.where(np.isfinite(rows), rows, np.nanmedian(rows, axis=0))
    away = np.abs(rows - np.median(rows, axis=0))
    rows = rows / np.maximum(away.mean(axis=0), 1e-3)
    distance = np.abs(rows[:, None] - rows[None]).mean(axis=2)
    apart = distance[~np.eye(len(rows), dtype=bool)]
    middle = float(np.median(apart)) if len(apart) else 0.0
    found: np.ndarray = np.exp(-distance / (middle or 1.0))
    return found


def weighed(doubts: Sequence[Doubt]) -> list[dict[str, float]]:
    """Return what each depth would settle in each scan: bits per voxel, the mean over structures.

    Dice counts each structure alike, whatever its size: so bits x ml about a structure are divided
    by its expected volume, which is that of the whole pool, where some scan may lack it.
    """
    names = {name for doubt in doubts for name in doubt.volume}
    volume = {name: np.mean([doubt.volume.get(name, 0) for doubt in doubts]) for name in names}
    counted = {name: float(ml) for name, ml in volume.items() if ml > 0}
    return [
        {
            depth: sum(own[name] / ml for name, ml in counted.items() if name in own)
            / max(len(counted), 1)
            for depth, own in doubt.settled.items()
        }
        for doubt in doubts
    ]


def choose(
    doubts: Sequence[Doubt], actions: Sequence[Sequence[Action]], budget: float
) -> list[Choice]:
    """Return a plan of at most `budget` minutes, at most one action a scan, in order of worth.

    The worth of a plan is, summed over all scans j of the pool, the most that one of its choices
    (scan i, action a) tells about j: likeness of i and j, times what a would settle in j. So a
    second scan that looks like the first adds little (facility location). Choices are taken by
    worth added per minute; a plan that begins with the one choice of most worth is made as well and
    the better of the two kept, since many cheap ones can crowd out a dear one that is worth more.

    Args:
        doubts: of the S scans.
        actions: those open to each scan.
        budget: minutes.
    """
    if not doubts:
        return []
    alike, settled = likeness(doubts), weighed(doubts)
    options = [(i, action) for i, own in enumerate(actions) for action in own if action.minutes > 0]
    # What the action would settle in every scan of the pool, `[options, S]`.
    table = np.array(
        [
            alike[i] * action.share * np.array([own[action.settles] for own in settled])
            for i, action in options
        ]
    ).reshape(len(options), len(doubts))
    minutes = np.array([action.minutes for _, action in options])
    fit = np.flatnonzero(minutes <= budget)
    if not len(fit):
        return []
    dearest = int(fit[table[fit].sum(axis=1).argmax()])
    plans = [_greedy(table, minutes, options, budget, first) for first in ([], [dearest])]
    taken = max(plans, key=lambda plan: table[plan].max(axis=0).sum() if plan else 0.0)
    choices, best = [], np.zeros(len(doubts))
    for number in taken:
        i, action = options[number]
        own, added = action.share * settled[i][action.settles], table[number] - best
        gain, like = float(np.maximum(added, 0).sum()), int((added > 1e-12).sum())
        choices.append(Choice(i, action, own, settled[i]["full"], gain, like))
        best = np.maximum(best, table[number])
    return choices


def _greedy(
    table: np.ndarray,
    minutes: np.ndarray,
    options: Sequence[tuple[int, Action]],
    budget: float,
    first: Sequence[int],
) -> list[int]:
    taken = list(first)
    left = budget - float(minutes[taken].sum())
    best = table[taken].max(axis=0) if taken else np.zeros(table.shape[1])
    of = np.array([i for i, _ in options])
    free = ~np.isin(of, of[taken])
    while True:
        worth = np.maximum(table - best, 0).sum(axis=1) / minutes
        worth[~free | (minutes > left + 1e-9)] = 0
        number = int(worth.argmax())
        if worth[number] <= 1e-12:
            return taken
        taken.append(number)
        left -= float(minutes[number])
        best = np.maximum(best, table[number])
        free &= of != of[number]


def reason(choice: Choice, doubt: Doubt, minutes: Mapping[str, float], pool: int) -> str:
    """Say in plain words why a choice stands where it does."""
    left = {name: bits / doubt.volume[name] for name, bits in doubt.settled["full"].items() if bits}
    most = sorted(left.items(), key=lambda item: -item[1])[:2]
    places = ", ".join(f"{name} {bits:.2g}" for name, bits in most)
    share = choice.own / choice.open_ if choice.open_ else 0.0
    text = f"settles {share:.0%} of its doubt (most bits a voxel: {places})"
    text += f"; tells most about {choice.like} of {pool} scans"
    full = minutes.get("full")
    if choice.action.name != "full" and full:
        text += f"; {choice.action.minutes / full:.0%} of the minutes of a full annotation"
    return text
