"""What a metric is called, how it is written, its bounds, and which way is better."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Metric:
    """A metric that is summarised over scans, draws and arms.

    Attributes:
        title: in tables and figures.
        digits: number of decimals.
        least, most: bounds of its values.
        better: 1 if a higher mean is better, -1 if a lower one is, 0 if neither.
    """

    title: str
    digits: int
    least: float
    most: float
    better: int


METRICS = {
    "dice": Metric("Dice", 3, 0, 1, 1),
    "hd95": Metric("HD95 (mm)", 2, 0, inf, -1),
    "hd": Metric("Maximum Hausdorff distance (mm)", 2, 0, inf, -1),
    "assd": Metric("Average symmetric surface distance (mm)", 2, 0, inf, -1),
    "nsd": Metric("Normalised surface Dice", 3, 0, 1, 1),
    "volume_error": Metric(
        *("Volume error, predicted minus true, as a share of the true volume", 3, -inf, inf, 0)
    ),
    "paper_dice": Metric(
        *("Dice with 1 added to numerator and denominator (as in the paper)", 3, 0, 1, 1)
    ),
    "paper_hd_voxels": Metric(
        *("Maximum Hausdorff distance (voxels, as in the paper)", 2, 0, inf, -1)
    ),
    "violation": Metric("Share of voxels outside a class that contains theirs", 3, 0, 1, -1),
    "ece": Metric("Expected calibration error", 3, 0, 1, -1),
}
"""All metrics, in the order of tables."""
