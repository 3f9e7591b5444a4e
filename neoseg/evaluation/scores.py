"""Scores of one predicted label map against the truth, for each class that the truth defines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import find_objects

from neoseg.evaluation.empty import DISTANCES, empty_scores
from neoseg.evaluation.surface import surface_dice, surface_distances
from neoseg.labels import Codebook

NSD_TOLERANCE = 1.0
"""Default tolerance of the normalised surface Dice, mm."""

_NA = float("nan")
_ON_SURFACES = (*DISTANCES, "nsd", "paper_hd_voxels")


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class on one scan; NaN means "not applicable".

    Attributes:
        name, abbreviation: of the class.
        is_leaf: whether it is a single leaf rather than a super-class.
        dice: 2|P∩T| / (|P|+|T|), 0 to 1.
        hd95: larger of the two directed 95th percentiles of the surface distances, mm.
        hd: maximum Hausdorff distance, mm.
        assd: mean of the surface distances of both directions, mm.
        truth_ml, prediction_ml: volumes in millilitres.
        missed: the truth has the class and the prediction has no voxel of it.
        invented: the prediction has the class and the truth has no voxel of it.
        paper_dice: (2|P∩T|+1) / (|P|+|T|+1) (Kucheruk et al., MLHC 2025).
        paper_hd_voxels: maximum Hausdorff distance in voxels of the scored grid (same paper).
        nsd: share of the area of both surfaces within the tolerance of the other, 0 to 1.
        nsd_tolerance: that tolerance, mm.
        known: share of the voxels whose membership in the class the truth states. Below 1, overlap
            and volumes use these voxels alone and the surface scores do not apply: the edge of
            the known region is not a surface.
        violation: share of the voxels with a probability above 0.5 in which a class that contains
            this one has 0.5 or less; n/a without such a class, and for heads consistent by design.
        ece: expected calibration error of the probability, 0 to 1; NaN unless requested.
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
        """`volume_error_ml` as a share of the true volume; NaN if that is 0."""
        return self.volume_error_ml / self.truth_ml if self.truth_ml > 0 else _NA


def scorable_classes(counts: np.ndarray, codebook: Codebook) -> dict[int, float]:
    """Return the classes that can be scored, each with the share of voxels on which it is known.

    These are the classes known on every voxel and those with at least one positive voxel, except
    the background. A class without positive voxels that is unknown on some may or may not be
    present, so it cannot be scored. Neither can a class of which a part was not drawn, that is
    if more voxels are labelled "that part or background" than surely belong to the class: they
    would be left out of the scores, and most false positives with them.

    Args:
        counts: `[R]`, number of voxels of each code.
        codebook: its R rows are the codes.
    """
    total = counts.sum()
    known = counts @ (codebook.membership != -1)
    present = counts @ (codebook.membership == 1)
    rows, background = codebook.rows, codebook.space.background
    undrawn = counts * (rows[:, background] & (rows.sum(axis=1) < rows.shape[1]))
    doubtful = undrawn @ (codebook.membership == -1)
    scored = np.flatnonzero((known == total) | ((present > 0) & (doubtful <= present))).tolist()
    return {c: float(known[c] / total) for c in scored if c != codebook.space.background}


def score_scan(
    prediction: np.ndarray,
    truth_codes: np.ndarray,
    codebook: Codebook,
    spacing_mm: Sequence[float],
    *,
    voxel_ml: float | None = None,
    distances: bool = True,
    nsd_tolerance: float = NSD_TOLERANCE,
) -> list[ClassScore]:
    """Score a leaf map against the truth on the same grid, in the order of the classes.

    Args:
        prediction: uint8 `[X, Y, Z]`, leaf positions; an array, or a tensor on the CPU.
        truth_codes: uint8 `[X, Y, Z]`, rows of `codebook`; likewise.
        spacing_mm: voxel size of the three axes.
        voxel_ml: volume of a voxel; by default that of right-angled axes.
        distances: whether to compute the surface scores; without them (NaN) scoring takes a
            fraction of a second.
        nsd_tolerance: tolerance of the normalised surface Dice, mm.

    Raises:
        ValueError: if shapes differ, values are out of range, or a spacing is not positive.
    """
    prediction, truth_codes = np.asarray(prediction), np.asarray(truth_codes)
    _check(prediction, truth_codes, codebook, spacing_mm)
    volume = float(np.prod(spacing_mm)) / 1000 if voxel_ml is None else voxel_ml
    maps = _Maps(prediction, truth_codes, codebook, spacing_mm, volume)
    return [
        maps.score(number, known, distances and known == 1, nsd_tolerance)
        for number, known in scorable_classes(maps.joint.sum(axis=1), codebook).items()
    ]


@dataclass(frozen=True)
class _Maps:
    """Prediction and truth of a scan, with what the scores of its classes are computed from."""

    prediction: np.ndarray
    truth_codes: np.ndarray
    codebook: Codebook
    spacing_mm: Sequence[float]
    voxel_ml: float

    @cached_property
    def joint(self) -> np.ndarray:
        """Voxels of each code and leaf `[R, K]`, from which overlaps and volumes follow."""
        shape = self.codebook.size, self.codebook.space.num_leaves
        pairs = self.truth_codes.astype(np.int32) * shape[1] + self.prediction
        return np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]).reshape(shape)

    @cached_property
    def boxes(self) -> tuple[list[tuple[slice, ...] | None], ...]:
        """Bounding box of each leaf, and of each code; None without voxels."""
        volumes = zip((self.prediction, self.truth_codes), self.joint.shape[::-1], strict=True)
        return tuple(find_objects(v.astype(np.int32) + 1, max_label=n) for v, n in volumes)

    def score(self, number: int, known: float, on_surfaces: bool, tolerance: float) -> ClassScore:
        """Score the class `number`, which is known on a share of the voxels."""
        space = self.codebook.space
        entry, leaves = space.classes[number], space.class_leaves[number]
        member = self.codebook.membership[:, number]
        codes = member == 1
        truth_n = int(self.joint[codes].sum())
        prediction_n = int(self.joint[np.ix_(member != -1, leaves)].sum())
        values = empty_scores(truth_n > 0, prediction_n > 0, *self._diagonals())
        if values is None:
            overlap, total = int(self.joint[np.ix_(codes, leaves)].sum()), truth_n + prediction_n
            values = {"dice": 2 * overlap / total, "paper_dice": (2 * overlap + 1) / (total + 1)}
            if on_surfaces:
                values |= self._surface_scores(leaves, codes, tolerance)
        if not on_surfaces:
            values |= dict.fromkeys(_ON_SURFACES, _NA)
        return ClassScore(
            name=entry.name,
            abbreviation=entry.abbreviation,
            is_leaf=number < space.num_leaves,
            truth_ml=truth_n * self.voxel_ml,
            prediction_ml=prediction_n * self.voxel_ml,
            missed=truth_n > 0 and prediction_n == 0,
            invented=prediction_n > 0 and truth_n == 0,
            nsd_tolerance=tolerance,
            known=known,
            **values,
        )

    def _diagonals(self) -> tuple[float, float]:
        """Return the diagonal of the volume in mm and in voxels."""
        shape = np.array(self.truth_codes.shape)
        in_mm = np.linalg.norm(shape * np.asarray(self.spacing_mm))
        return float(in_mm), float(np.linalg.norm(shape))

    def _surface_scores(
        self, leaves: np.ndarray, codes: np.ndarray, tolerance: float
    ) -> dict[str, float]:
        """Return the scores of the surfaces of a class, given its leaves and codes as masks."""
        masks = zip(self.boxes, (leaves, codes), strict=True)
        box = joint_box(boxes[k] for boxes, mask in masks for k in np.flatnonzero(mask))
        prediction, truth = leaves[self.prediction[box]], codes[self.truth_codes[box]]
        surfaces = surface_distances(prediction, truth, self.spacing_mm)
        mean = float(np.mean(self.spacing_mm))
        # On an isotropic grid, voxel sizes read from an affine differ by rounding.
        if np.allclose(self.spacing_mm, mean, rtol=1e-5, atol=0):
            in_voxels = surfaces.hausdorff / mean
        else:
            in_voxels = surface_distances(prediction, truth, (1.0, 1.0, 1.0)).hausdorff
        return {
            "hd95": surfaces.percentile(95),
            "hd": surfaces.hausdorff,
            "assd": surfaces.average,
            "nsd": surface_dice(prediction, truth, self.spacing_mm, tolerance),
            "paper_hd_voxels": in_voxels,
        }


def joint_box(boxes: Iterable[tuple[slice, ...] | None]) -> tuple[slice, ...]:
    """Return the bounding box of all boxes that are not None; at least one must be given."""
    present = [box for box in boxes if box is not None]
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*present, strict=True)
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
