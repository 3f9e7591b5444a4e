"""Score a network on the labelled scans of a cohort, on their own grids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neoseg.cohort import Scan
from neoseg.data import prepare_labels, read_codes
from neoseg.evaluation.scores import score_scan
from neoseg.evaluation.table import score_frame, write_scores
from neoseg.inference import Provenance, Segmenter, write_derivative, write_overlay
from neoseg.labels import Codebook, Convention

log = logging.getLogger(__name__)


def score_scans(
    segmenter: Segmenter,
    scans: Sequence[Scan],
    convention: Convention,
    output: Path,
    provenance: Provenance,
    *,
    hidden: Collection[str] = (),
    pictures: int = 4,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Segment and score `scans`; write segmentations, pictures and `scores.csv` into `output`.

    Args:
        segmenter: the network and how to use it.
        scans: those without a label file are left out, with a note in the log.
        convention: what the integers of the label files mean.
        output: gets `segmentations/` (BIDS derivatives), `pictures/` and `scores.csv`.
        provenance: goes into the derivatives' description.
        hidden: abbreviations of the classes that the run's protocol hides.
        pictures: how many scans are drawn, spread evenly over all.
        progress: called with the id of each scan that is done.

    Returns:
        One row per scan and class.

    Raises:
        ValueError: if no scan has labels, or a file cannot be used.
    """
    space = convention.space
    codebook = Codebook.build(space, convention.sets)
    lookup = codebook.lookup(convention.sets)
    labelled = [scan for scan in scans if scan.label is not None]
    if len(labelled) < len(scans):
        log.warning("%d scans have no labels and are not scored", len(scans) - len(labelled))
    if not labelled:
        raise ValueError("none of the scans to score has a label file; choose another split")
    drawn = set(np.linspace(0, len(labelled) - 1, min(pictures, len(labelled))).round().astype(int))
    frames = []
    for number, scan in enumerate(labelled):
        found = segmenter.segment(scan.images)
        assert scan.images[0] is not None
        write_derivative(output / "segmentations", scan.images[0], found.native, space, provenance)
        truth = lookup[read_codes(scan, convention, found.geometry)]
        spacing = found.geometry.canonical_spacing
        scores = score_scan(found.leaves, truth, codebook, spacing)
        frames.append(
            score_frame(
                scores,
                subject=scan.subject,
                session=scan.session,
                scan_age=scan.scan_age,
                age_group=scan.age_group,
                hidden=hidden,
            )
        )
        if number in drawn:
            dice = np.array([score.dice for score in scores if score.is_leaf])
            write_overlay(
                output / "pictures" / f"{scan.id}.png",
                found.image,
                found.prepared_leaves,
                prepare_labels(truth, found.geometry),
                codebook,
                found.geometry.spacing,
                scan=scan.id,
                scan_age=scan.scan_age,
                mean_dice=float(np.nanmean(dice)) if np.isfinite(dice).any() else None,
            )
        if progress is not None:
            progress(scan.id)
    table = pd.concat(frames, ignore_index=True)
    write_scores(output / "scores.csv", table)
    return table
