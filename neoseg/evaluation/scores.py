"""Scores of one predicted label map against the truth, for each class that the truth knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from neoseg.evaluation.empty import DISTANCES, empty_scores
from neoseg.evaluation.surface import surface_dice, surface_distances
from neoseg.labels import Codebook

NSD_TOLERANCE = 1.0
"""Tolerance of the normalised surface Dice in mm where nothing else is asked for."""

_NA = float("nan")
_ON_SURFACES = (*DISTANCES, "nsd", "paper_hd_voxels")


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
        nsd: share of the area of both surfaces within the tolerance of the other, 0 to 1.
        nsd_tolerance: that tolerance, mm.
        known: share of the voxels on which the truth knows the class. Below 1, overlap and volumes
            are those of the known voxels and the surface scores do not apply: where knowledge
            ends there is no surface.
        violation: share of the voxels with a probability above 0.5 in which a class that contains
            this one has none; n/a for classes without such and for heads that cannot violate.
        ece: expected calibration error of the probability, 0 to 1, where it was asked for.
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
    nsd: float = _NA
    nsd_tolerance: float = NSD_TOLERANCE
    known: float = 1.0
    violation: float = _NA
    ece: float = _NA

    @property
    def volume_error_ml(self) -> float:
        """Predicted minus true volume."""
        return self.prediction_ml - self.truth_ml

    @property
    def volume_error(self) -> float:
        """The same as a share of the true volume; n/a where that is 0."""
        return self.volume_error_ml / self.truth_ml if self.truth_ml > 0 else _NA


def scorable_classes(counts: np.ndarray, codebook: Codebook) -> dict[int, float]:
    """Return the classes that a truth knows, each with the share of voxels on which it does.

    Those are the classes known on every voxel, and those of which some voxel is known to be in
    the class; the background leaf is left out. A class that is nowhere known to be present and
    somewhere unknown may be present or not, so it cannot be scored. Nor can one of which a part
    was not drawn: what is told to be that part or background is then more than what surely belongs
    to it, and with it all is left out that a prediction has too much.

    Args:
        counts: `[R]`, voxels of each code.
        codebook: R rows.
    """
    total = counts.sum()
    known = counts @ (codebook.membership != -1)
    present = counts @ (codebook.membership == 1)
    rows, clear = codebook.rows, codebook.space.background
    undrawn = counts * (rows[:, clear] & (rows.sum(axis=1) < rows.shape[1]))
    doubtful = undrawn @ (codebook.membership == -1)
    scored = np.flatnonzero((known == total) | ((present > 0) & (doubtful <= present))).tolist()
    return {c: float(known[c] / total) for c in scored if c != codebook.space.background}


def score_scan(
    prediction: np.ndarray,
    truth_codes: np.ndarray,
    codebook: Codebook,
    spacing_mm: Sequence[float],
    *,
    distances: bool = True,
    nsd_tolerance: float = NSD_TOLERANCE,
) -> list[ClassScore]:
    """Score a leaf map against a truth of the same grid, in the order of the classes.

    Args:
        prediction: uint8 `[X, Y, Z]`, leaf positions.
        truth_codes: uint8 `[X, Y, Z]`, rows of `codebook`.
        spacing_mm: voxel size of the three axes.
        distances: leave out the surface scores (NaN) where only Dice is wanted, which takes
            a fraction of a second.
        nsd_tolerance: of the normalised surface Dice, mm.

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
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    shape = np.array(truth_codes.shape)
    diagonal_mm = float(np.linalg.norm(shape * np.asarray(spacing_mm)))
    diagonal_voxels = float(np.linalg.norm(shape))
    leaf_boxes = find_objects(prediction.astype(np.int32) + 1, max_label=space.num_leaves)
    code_boxes = find_objects(truth_codes.astype(np.int32) + 1, max_label=codebook.size)

    scores = []
    for number, known in scorable_classes(joint.sum(axis=1), codebook).items():
        entry = space.classes[number]
        leaves = space.class_leaves[number]
        member = codebook.membership[:, number]
        codes = member == 1
        truth_n = int(joint[codes].sum())
        prediction_n = int(joint[np.ix_(member != -1, leaves)].sum())
        overlap = int(joint[np.ix_(codes, leaves)].sum())
        on_surfaces = distances and known == 1
        values = empty_scores(truth_n > 0, prediction_n > 0, diagonal_mm, diagonal_voxels)
        if values is None:
            total = truth_n + prediction_n
            values = {"dice": 2 * overlap / total, "paper_dice": (2 * overlap + 1) / (total + 1)}
            if on_surfaces:
                boxes = [leaf_boxes[k] for k in np.flatnonzero(leaves)]
                boxes += [code_boxes[k] for k in np.flatnonzero(codes)]
                box = joint_box(boxes)
                masks = leaves[prediction[box]], codes[truth_codes[box]]
                values |= _distances(*masks, spacing_mm, nsd_tolerance)
        if not on_surfaces:
            values |= dict.fromkeys(_ON_SURFACES, _NA)
        scores.append(
            ClassScore(
                name=entry.name,
                abbreviation=entry.abbreviation,
                is_leaf=number < space.num_leaves,
                truth_ml=truth_n * voxel_ml,
                prediction_ml=prediction_n * voxel_ml,
                missed=truth_n > 0 and prediction_n == 0,
                invented=prediction_n > 0 and truth_n == 0,
                nsd_tolerance=nsd_tolerance,
                known=known,
                **values,
            )
        )
    return scores


def _distances(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: Sequence[float],
    tolerance: float,
) -> dict[str, float]:
    measured = surface_distances(prediction, truth, spacing_mm)
    mean = float(np.mean(spacing_mm))
    # Sizes read from an affine differ by rounding on an isotropic grid.
    if np.allclose(spacing_mm, mean, rtol=1e-5, atol=0):
        in_voxels = measured.hausdorff / mean
    else:
        in_voxels = surface_distances(prediction, truth, (1.0, 1.0, 1.0)).hausdorff
    return {
        "hd95": measured.percentile(95),
        "hd": measured.hausdorff,
        "assd": measured.average,
        "nsd": surface_dice(prediction, truth, spacing_mm, tolerance),
        "paper_hd_voxels": in_voxels,
    }


def joint_box(boxes: Iterable[tuple[slice, ...] | None]) -> tuple[slice, ...]:
    """Return the smallest box around some, of which one at least is given."""
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
