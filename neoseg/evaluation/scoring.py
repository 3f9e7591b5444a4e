"""Score a network on the labelled scans of a cohort, on their own grids."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field
from torch import Tensor

from neoseg.cohort import Scan
from neoseg.evaluation.probability import BINS, Calibration, HierarchyCheck
from neoseg.evaluation.score_files import ScoreFiles
from neoseg.evaluation.scores import NSD_TOLERANCE, ClassScore, score_scan
from neoseg.evaluation.table import score_frame
from neoseg.findings.settings import Section
from neoseg.inference.blending import Region
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmentation import Segmentation
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import Codebook, Convention, hide_slices
from neoseg.networks import Head
from neoseg.store import Geometry, prepare_labels
from neoseg.store.reading import read_codes

log = logging.getLogger(__name__)

_ROUNDING = 1e-4
"""Relative rounding error of voxel sizes that are read from an affine."""


_TOLERATED = 5
"""Largest tolerance of surface Dice in voxels that is not warned of."""


class ScoreSettings(Section):
    """Optional scores, and the views kept for the report."""

    nsd_tolerance: float = Field(default=NSD_TOLERANCE, gt=0, description="mm")
    calibration: bool = Field(default=False, description="expected calibration error per class")
    bins: int = Field(default=BINS, ge=1, description="of the calibration error")
    views: bool = Field(default=True, description="small copies of the scans for the report")


class ToleranceCheck:
    """Warns once that voxels are larger, or far smaller, than the tolerance of surface Dice, mm."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance, self._told = tolerance, False

    def __call__(self, scan: Scan, segmentation: Segmentation) -> None:
        """Warn of the voxels of a scan, unless those of one before were told of."""
        voxel_mm = max(segmentation.geometry.canonical_spacing)
        if self._told or voxel_mm * (1 - _ROUNDING) <= self._tolerance <= voxel_mm * _TOLERATED:
            return
        self._told = True
        if self._tolerance > voxel_mm:
            log.warning(
                "scoring.nsd_tolerance is %g mm and the voxels of %s are %.3g mm: surfaces that "
                "are %.0f voxels apart count as the same in surface Dice (nsd); set a tolerance of "
                "a voxel or a few",
                self._tolerance,
                scan.id,
                voxel_mm,
                self._tolerance / voxel_mm,
            )
            return
        log.warning(
            "scoring.nsd_tolerance is %g mm and the voxels of %s are %.3g mm: there, surface "
            "Dice (nsd) is little but the share of the surfaces that coincide; compare it only "
            "with others at this voxel size, or set a tolerance of a voxel or more",
            self._tolerance,
            scan.id,
            voxel_mm,
        )


def score_scans(
    segmenter: Segmenter,
    scans: Sequence[Scan],
    convention: Convention,
    output: Path,
    provenance: Provenance,
    settings: ScoreSettings,
    check: ToleranceCheck,
    *,
    hidden: Collection[str],
    pictures: int,
    progress: Callable[[str], None] | None,
    made_of: str | None,
) -> pd.DataFrame:
    """Segment and score the scans of a cohort; write segmentations, pictures and views.

    Args:
        segmenter: the network and its inference settings.
        scans: those without a label file are skipped with a warning; at least one has one.
        convention: the meaning of the integers in the label files.
        output: receives `segmentations/` (BIDS derivatives), `pictures/` and `views/`.
        provenance: written to the description of the derivatives.
        settings: what to score.
        check: of the tolerance of surface Dice; one for several calls warns once.
        hidden: abbreviations of the classes that the run's protocol hides.
        pictures: number of scans to draw, evenly spaced in `scans`.
        progress: called with the id of each finished scan.
        made_of: digest of all that the outputs depend on; with it an interrupted call is continued.

    Returns:
        One row per scan and class.

    Raises:
        ValueError: if a file is invalid.
    """
    codebook = codebook_of(scans, convention)
    labelled = [scan for scan in scans if scan.label is not None]
    if len(labelled) < len(scans):
        log.warning("%d scans have no labels and are not scored", len(scans) - len(labelled))
    drawn = set(np.linspace(0, len(labelled) - 1, min(pictures, len(labelled))).round().astype(int))
    files = ScoreFiles(output, codebook, provenance, settings.views, made_of)
    frames, goes_on = list[pd.DataFrame](), files.goes_on
    for number, scan in enumerate(labelled):
        if goes_on and (kept := files.kept(scan)) is not None:
            frames.append(kept)
            if progress is not None:
                progress(scan.id)
            continue
        scorer = _ScanScorer(scan, convention, codebook, segmenter.head, settings)
        segmentation = segmenter.segment(scan.images, scorer, mask=scan.mask)
        truth = scorer.truth(segmentation.geometry)
        scores = scorer.scores(segmentation, truth)
        check(scan, segmentation)
        frames.append(
            score_frame(
                scores,
                subject=scan.subject,
                session=scan.session,
                scan_age=scan.scan_age,
                age_group=scan.age_group,
                hidden=hidden,
                cohort=scan.cohort,
            )
        )
        if number == 0 and not goes_on:
            files.clear()
        files.write(scan, segmentation, truth)
        if number in drawn:
            files.draw(scan, segmentation, truth, scores)
        files.keep(scan, frames[-1])
        if progress is not None:
            progress(scan.id)
    return pd.concat(frames, ignore_index=True)


def codebook_of(scans: Sequence[Scan], convention: Convention) -> Codebook:
    """Return the codebook of all label sets that the label files of the scans can contain."""
    described = chain.from_iterable(scan.sets(convention) for scan in scans)
    return Codebook.build(convention.space, [*convention.sets, *described])


def truth_of(
    scan: Scan, convention: Convention, codebook: Codebook, geometry: Geometry
) -> np.ndarray:
    """Return the codes of a scan's label file on its canonical grid.

    Raises:
        DataError: if the label file is invalid.
    """
    lookup, description = codebook.lookup(scan.sets(convention)), scan.described
    codes: np.ndarray = lookup[read_codes(scan, scan.meaning(convention), geometry)]
    if description is not None:
        hide_slices(codes, description.slices_of(codes, codebook, [0]), description.slice_axis)
    return codes


def hidden_classes(codebook: Codebook) -> list[str]:
    """Return the abbreviations of the classes that some merged label set leaves undecided.

    The set of all leaves ("unknown") does not count, since it leaves every class undecided.
    """
    merged = codebook.membership[codebook.space.num_leaves + 1 :]
    is_open = (merged == -1).any(axis=0)
    classes = zip(codebook.space.classes, is_open, strict=True)
    return [entry.abbreviation for entry, is_hidden in classes if is_hidden]


class _ScanScorer:
    """Truth and scores of one scan; called with the logits of each region during inference."""

    def __init__(
        self,
        scan: Scan,
        convention: Convention,
        codebook: Codebook,
        head: Head,
        settings: ScoreSettings,
    ) -> None:
        self._scan, self._convention, self._codebook = scan, convention, codebook
        self._tolerance = settings.nsd_tolerance
        self._hierarchy = HierarchyCheck(head)
        self._calibration = None
        if settings.calibration:
            self._calibration = Calibration(head, codebook, settings.bins)
        self._prepared: np.ndarray | None = None

    def __call__(self, logits: Tensor, region: Region, geometry: Geometry) -> None:
        self._hierarchy.add(logits)
        if self._calibration is None:
            return
        if self._prepared is None:
            self._prepared = prepare_labels(self.truth(geometry), geometry)
        self._calibration.add(logits, self._prepared[region])

    def truth(self, geometry: Geometry) -> np.ndarray:
        """Return the codes of the label file on the canonical grid."""
        return truth_of(self._scan, self._convention, self._codebook, geometry)

    def scores(self, segmentation: Segmentation, truth: np.ndarray) -> list[ClassScore]:
        """Return the scores of the label map, completed by those of the probabilities."""
        geometry = segmentation.geometry
        if geometry.is_sheared:
            log.warning(
                "%s: its axes are not at right angles, as distances take them to be: those in mm "
                "are off by some per cent",
                self._scan.id,
            )
        scores = score_scan(
            *(segmentation.leaves, truth, self._codebook, geometry.canonical_spacing),
            voxel_ml=geometry.voxel_ml,
            nsd_tolerance=self._tolerance,
        )
        classes = [entry.abbreviation for entry in self._codebook.space.classes]
        violations = self._hierarchy.violations
        not_computed = np.full(len(classes), np.nan)
        errors = not_computed if self._calibration is None else self._calibration.errors
        return [
            replace(score, violation=float(violations[position]), ece=float(errors[position]))
            for score in scores
            for position in [classes.index(score.abbreviation)]
        ]
