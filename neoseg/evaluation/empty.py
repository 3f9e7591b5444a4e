"""Scores of a class that is empty in the truth, the prediction or both."""

_NA = float("nan")

OVERLAPS = ("dice", "nsd", "paper_dice")
"""Scores from 0 to 1 that compare two masks."""

DISTANCES = ("hd95", "hd", "assd")
"""Scores in mm that compare two surfaces."""


def empty_scores(
    truth: bool, prediction: bool, diagonal_mm: float, diagonal_voxels: float
) -> dict[str, float] | None:
    """Return the scores of a class if either mask is empty, None if both have voxels.

    The policy for empty masks is defined here only:

    ==========  ============  ===================  ================  ==============
    truth       prediction    Dice, surface Dice   distances         counted as
    ==========  ============  ===================  ================  ==============
    empty       empty         n/a                  n/a               nothing
    has voxels  empty         0                    image diagonal    `missed`
    empty       has voxels    0                    image diagonal    `invented`
    ==========  ============  ===================  ================  ==============

    The paper's variants follow the same rows: its Dice formula would give 1 for a class that
    neither mask contains.
    """
    if truth and prediction:
        return None
    either = truth or prediction
    return {
        **dict.fromkeys(OVERLAPS, 0.0 if either else _NA),
        **dict.fromkeys(DISTANCES, diagonal_mm if either else _NA),
        "paper_hd_voxels": diagonal_voxels if either else _NA,
    }
