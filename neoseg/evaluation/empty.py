"""What a class scores where the truth or the prediction has no voxel of it."""

from __future__ import annotations

_NA = float("nan")

OVERLAPS = ("dice", "nsd", "paper_dice")
"""Scores from 0 to 1 that compare two masks."""

DISTANCES = ("hd95", "hd", "assd")
"""Scores in mm that compare two surfaces."""


def empty_scores(
    truth: bool, prediction: bool, diagonal_mm: float, diagonal_voxels: float
) -> dict[str, float] | None:
    """Return what a class scores when a mask of it is empty, or None where both have voxels.

    The only place of the policy:

    ==========  ============  ===================  ================  ==============
    truth       prediction    Dice, surface Dice   distances         counted as
    ==========  ============  ===================  ================  ==============
    empty       empty         n/a                  n/a               nothing
    has voxels  empty         0                    image diagonal    `missed`
    empty       has voxels    0                    image diagonal    `invented`
    ==========  ============  ===================  ================  ==============

    The paper's variants follow the same rows: its Dice formula would give 1 to a class that
    nobody has.
    """
    if truth and prediction:
        return None
    one = truth or prediction
    return {
        **dict.fromkeys(OVERLAPS, 0.0 if one else _NA),
        **dict.fromkeys(DISTANCES, diagonal_mm if one else _NA),
        "paper_hd_voxels": diagonal_voxels if one else _NA,
    }
