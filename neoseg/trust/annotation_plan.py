"""Choose which scans to annotate next, and how deeply, within a budget of minutes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.trust.doubt import Doubt


@dataclass(frozen=True)
class Action:
    """A depth of annotation: its cost in minutes, and the share of the doubt of depth `settles`
    that it settles (for slices, their share of the scan)."""

    name: str
    minutes: float
    share: float = 1.0
    settles: str = "full"


@dataclass(frozen=True)
class Choice:
    """One row of the plan.

    Attributes:
        scan: index of the scan.
        action: the action chosen for it.
        own: doubt (see `weighed`) that the action settles in the scan itself.
        open_: total doubt of the scan.
        gain: worth that the choice adds to the plan, summed over all scans of the pool.
        like: number of scans of the pool for which it settles more than all choices before it.
    """

    scan: int
    action: Action
    own: float
    open_: float
    gain: float
    like: int


def likeness(doubts: Sequence[Doubt]) -> np.ndarray:
    """Return the similarity of the scans' appearances `[S, S]`, 1 for identical ones.

    It is exp(-d / m), with d the mean absolute difference of the appearance values, each scaled by
    its spread over the pool, and m the median of d over pairs of scans.
    """
    names = sorted(set().union(*(doubt.appearance for doubt in doubts)))
    rows = np.array([[d.appearance.get(name, np.nan) for name in names] for d in doubts])
    rows = np.where(np.isfinite(rows), rows, np.nanmedian(rows, axis=0))
    deviations = np.abs(rows - np.median(rows, axis=0))
    rows = rows / np.maximum(deviations.mean(axis=0), 1e-3)
    distance = np.abs(rows[:, None] - rows[None]).mean(axis=2)
    pairwise = distance[~np.eye(len(rows), dtype=bool)]
    median_distance = float(np.median(pairwise)) if len(pairwise) else 0.0
    similarity: np.ndarray = np.exp(-distance / (median_distance or 1.0))
    return similarity


def weighed(doubts: Sequence[Doubt]) -> list[dict[str, float]]:
    """Return for each scan depth -> doubt that it would settle, in bits per voxel of a structure.

    The value is the mean over structures, since Dice weighs structures equally whatever their
    size. The bits x ml of a structure are divided by its expected volume, averaged over the pool
    because a scan may lack the structure.
    """
    names = {name for doubt in doubts for name in doubt.volume}
    volume = {name: np.mean([doubt.volume.get(name, 0) for doubt in doubts]) for name in names}
    counted = {name: float(ml) for name, ml in volume.items() if ml > 0}
    return [
        {
            depth: sum(bits[name] / ml for name, ml in counted.items() if name in bits)
            / max(len(counted), 1)
            for depth, bits in doubt.settled.items()
        }
        for doubt in doubts
    ]


def choose(
    doubts: Sequence[Doubt], actions: Sequence[Sequence[Action]], budget: float
) -> list[Choice]:
    """Return a plan of at most `budget` minutes, with at most one action per scan, best first.

    The worth of a plan is the sum over all scans j of the pool of the maximum over its choices
    (scan i, action a) of the similarity of i and j times the doubt that a would settle in j. So a
    second scan that looks like the first adds little (facility location). Choices are added
    greedily by worth per minute. A second plan starts with the single most valuable choice, and
    the better plan is returned: many cheap choices may crowd out an expensive, more valuable one.

    Args:
        doubts: doubts of the S scans.
        actions: possible actions of each scan.
        budget: minutes.
    """
    if not doubts:
        return []
    similarity, settled = likeness(doubts), weighed(doubts)
    options = [(i, action) for i, row in enumerate(actions) for action in row if action.minutes > 0]
    # What each option would settle in every scan of the pool, `[options, S]`.
    table = np.array(
        [
            similarity[i] * action.share * np.array([row[action.settles] for row in settled])
            for i, action in options
        ]
    ).reshape(len(options), len(doubts))
    minutes = np.array([action.minutes for _, action in options])
    affordable = np.flatnonzero(minutes <= budget)
    if not len(affordable):
        return []
    best_single = int(affordable[table[affordable].sum(axis=1).argmax()])
    plans = [_greedy(table, minutes, options, budget, first) for first in ([], [best_single])]
    selected = max(plans, key=lambda plan: table[plan].max(axis=0).sum() if plan else 0.0)
    choices, best = [], np.zeros(len(doubts))
    for number in selected:
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
    selected = list(first)
    remaining = budget - float(minutes[selected].sum())
    best = table[selected].max(axis=0) if selected else np.zeros(table.shape[1])
    scan_of = np.array([i for i, _ in options])
    available = ~np.isin(scan_of, scan_of[selected])
    while True:
        worth = np.maximum(table - best, 0).sum(axis=1) / minutes
        worth[~available | (minutes > remaining + 1e-9)] = 0
        option = int(worth.argmax())
        if worth[option] <= 1e-12:
            return selected
        selected.append(option)
        remaining -= float(minutes[option])
        best = np.maximum(best, table[option])
        available &= scan_of != scan_of[option]


def reason(choice: Choice, doubt: Doubt, minutes: Mapping[str, float], pool: int) -> str:
    """Return a sentence that explains a choice."""
    bits_per_voxel = {
        name: bits / doubt.volume[name] for name, bits in doubt.settled["full"].items() if bits
    }
    top = sorted(bits_per_voxel.items(), key=lambda item: -item[1])[:2]
    listed = ", ".join(f"{name} {bits:.2g}" for name, bits in top)
    share = choice.own / choice.open_ if choice.open_ else 0.0
    text = f"settles {share:.0%} of its doubt (most bits a voxel: {listed})"
    text += f"; tells most about {choice.like} of {pool} scans"
    full = minutes.get("full")
    if choice.action.name != "full" and full:
        text += f"; {choice.action.minutes / full:.0%} of the minutes of a full annotation"
    return text
