"""Scores of one predicted label map against the truth, for each class that the truth knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from neoseg.evaluation.surface import surface_distances
from neoseg.labels import Codebook

_NA = float("nan")


@dataclass(frozen=True)
class ClassScore:
    """One class of one scan; NaN is "not applicable".

    Attributes:
        name, abbreviation: of the class.
        is_leaf: whether it is a single leaf rather than a super-class.
        dice: 2|P∩T| / (|P|+|T|), 0 to 1.
        hd95: larger of the two directed 95th percentiles of the surface distances, mm.
        hd: maximum Hausdorff distance, mm.
        assd: mean of all surface distances of both directions, mm.
        truth_ml, prediction_ml: volumes in millilitres.
        missed: the truth has the class and the prediction has no voxel of it.
        invented: the prediction has the class and the truth has no voxel of it.
        paper_dice: (2|P∩T|+1) / (|P|+|T|+1) (Kucheruk et al., MLHC 2025).
        paper_hd_voxels: maximum Hausdorff distance in voxels of the scored grid (same paper).
    """

    name: str
    abbreviation: str
    is_leaf: bool
    dice: float
    hd95: float
    hd: float
    assd: float
    truth_ml: float
    prediction_ml: float
    missed: bool
    invented: bool
    paper_dice: float
    paper_hd_voxels: float


def empty_scores(
    truth: bool, prediction: bool, diagonal_mm: float, diagonal_voxels: float
) -> dict[str, float] | None:
    """Return what a class scores when a mask of it is empty, or None where both have voxels.

    The only place of the policy:

    ==========  ============  =========  ================  ==============
    truth       prediction    Dice       distances         counted as
    ==========  ============  =========  ================  ==============
    empty       empty         n/a        n/a               nothing
    has voxels  empty         0          image diagonal    `missed`
    empty       has voxels    0          image diagonal    `invented`
    ==========  ============  =========  ================  ==============

    The paper's variants follow the same rows: its Dice formula would give 1 to a class that
    nobody has.
    """
    if truth and prediction:
        return None
    one = truth or prediction
    dice = 0.0 if one else _NA
    distance = diagonal_mm if one else _NA
    return {
        "dice": dice,
        "hd95": distance,
        "hd": distance,
        "assd": distance,
        "paper_dice": dice,
        "paper_hd_voxels": diagonal_voxels if one else _NA,
    }


def scorable_classes(codes_present: np.ndarray, codebook: Codebook) -> list[int]:
    """Return the classes that a truth knows on every voxel, the background leaf left out.

    `codes_present` holds the distinct codes of the scan.
    """
    known = (codebook.membership[codes_present] != -1).all(axis=0)
    return [c for c in np.flatnonzero(known).tolist() if c != codebook.space.background]


def score_scan(
    prediction: np.ndarray,
    truth_codes: np.ndarray,
    codebook: Codebook,
    spacing_mm: Sequence[float],
    *,
    distances: bool = True,
    workers: int = 1,
) -> list[ClassScore]:
    """Score a leaf map against a truth of the same grid, in the order of the classes.

    Args:
        prediction: uint8 `[X, Y, Z]`, leaf positions.
        truth_codes: uint8 `[X, Y, Z]`, rows of `codebook`.
        spacing_mm: voxel size of the three axes.
        distances: leave out the surface distances (NaN) where only Dice is wanted, which takes
            a fraction of a second.
        workers: threads of the nearest-neighbour search.

    Raises:
        ValueError: for shapes that differ, values out of range, or a spacing that is not positive.
    """
    space = codebook.space
    _check(prediction, truth_codes, codebook, spacing_mm)
    # Every overlap and volume follows from how often each leaf meets each code.
    joint = np.bincount(
        (truth_codes.astype(np.int32) * space.num_leaves + prediction).ravel(),
        minlength=codebook.size * space.num_leaves,
    ).reshape(codebook.size, space.num_leaves)
    present = np.flatnonzero(joint.sum(axis=1))
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    shape = np.array(truth_codes.shape)
    diagonal_mm = float(np.linalg.norm(shape * np.asarray(spacing_mm)))
    diagonal_voxels = float(np.linalg.norm(shape))
    leaf_boxes = find_objects(prediction.astype(np.int32) + 1, max_label=space.num_leaves)
    code_boxes = find_objects(truth_codes.astype(np.int32) + 1, max_label=codebook.size)

    scores = []
    for number in scorable_classes(present, codebook):
        entry = space.classes[number]
        leaves = space.class_leaves[number]
        codes = codebook.membership[:, number] == 1
        truth_n = int(joint[codes].sum())
        prediction_n = int(joint[:, leaves].sum())
        overlap = int(joint[np.ix_(codes, leaves)].sum())
        values = empty_scores(truth_n > 0, prediction_n > 0, diagonal_mm, diagonal_voxels)
        if values is None:
            total = truth_n + prediction_n
            values = {"dice": 2 * overlap / total, "paper_dice": (2 * overlap + 1) / (total + 1)}
            if distances:
                boxes = [leaf_boxes[k] for k in np.flatnonzero(leaves)]
                boxes += [code_boxes[k] for k in np.flatnonzero(codes)]
                box = _joint_box(boxes)
                masks = leaves[prediction[box]], codes[truth_codes[box]]
                values |= _distances(*masks, spacing_mm, workers)
        if not distances:
            values |= dict.fromkeys(("hd95", "hd", "assd", "paper_hd_voxels"), _NA)
        scores.append(
            ClassScore(
                name=entry.name,
                abbreviation=entry.abbreviation,
                is_leaf=number < space.num_leaves,
                truth_ml=truth_n * voxel_ml,
                prediction_ml=prediction_n * voxel_ml,
                missed=truth_n > 0 and prediction_n == 0,
                invented=prediction_n > 0 and truth_n == 0,
                **values,
            )
        )
    return scores


def _distances(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], workers: int
) -> dict[str, float]:
    measured = surface_distances(prediction, truth, spacing_mm, workers)
    mean = float(np.mean(spacing_mm))
    # Sizes read from an affine differ by rounding on an isotropic grid.
    if np.allclose(spacing_mm, mean, rtol=1e-5, atol=0):
        in_voxels = measured.hausdorff / mean
    else:
        in_voxels = surface_distances(prediction, truth, (1.0, 1.0, 1.0), workers).hausdorff
    return {
        "hd95": measured.percentile(95),
        "hd": measured.hausdorff,
        "assd": measured.average,
        "paper_hd_voxels": in_voxels,
    }


def _joint_box(boxes: list[tuple[slice, ...] | None]) -> tuple[slice, ...]:
    found = [box for box in boxes if box is not None]
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*found, strict=True)
    )


def _check(
    prediction: np.ndarray, truth: np.ndarray, codebook: Codebook, spacing: Sequence[float]
) -> None:
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise ValueError(
            f"prediction {prediction.shape} and truth {truth.shape} must be volumes of one shape; "
            "bring the prediction to the truth's grid first"
        )
    limits = (
        ("prediction", prediction, codebook.space.num_leaves),
        ("truth", truth, codebook.size),
    )
    for name, volume, limit in limits:
        if volume.dtype.kind not in "ui":
            raise ValueError(f"the {name} is {volume.dtype}, expected whole numbers")
        if volume.size and not 0 <= int(volume.min()) <= int(volume.max()) < limit:
            raise ValueError(
                f"the {name} holds values from {volume.min()} to {volume.max()}, expected 0 to "
                f"{limit - 1} of the table '{codebook.space.name}'"
            )
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"spacing must be three positive numbers in mm, found {tuple(spacing)}")
