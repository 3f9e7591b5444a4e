"""Write the segmentations, views and pictures of scored scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neoseg.cohort import Scan
from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.scores import ClassScore
from neoseg.evaluation.view import VIEWS, make_view, write_view
from neoseg.inference.dataset import Provenance
from neoseg.inference.derivative import write_derivative
from neoseg.inference.overlay import write_overlay
from neoseg.inference.segmentation import Segmentation
from neoseg.labels import Codebook
from neoseg.store import prepare_labels, read_volume


@dataclass(frozen=True)
class ScoreFiles:
    """The files that scoring writes for each scan into the folder `output`.

    Attributes:
        output: receives `segmentations/` (BIDS derivatives), `pictures/` and `views/`.
        codebook: its rows are the codes of the truth.
        provenance: written to the description of the derivatives.
        views: whether to keep small copies of the scans for the report.
    """

    output: Path
    codebook: Codebook
    provenance: Provenance
    views: bool

    def clear(self) -> None:
        """Delete the outputs of an earlier pass, so that views and scores of a folder match.

        Without `scores.csv`, an interrupted pass is not mistaken for a finished one.
        """
        for path in [self.output / "scores.csv", *(self.output / VIEWS).glob("*.npz")]:
            path.unlink(missing_ok=True)
        for path in (self.output / "pictures").glob("*.png"):
            path.unlink(missing_ok=True)

    def write(self, scan: Scan, segmentation: Segmentation, truth: np.ndarray) -> None:
        """Write the segmentation of a scan, and its view with the truth on the canonical grid."""
        source, space = scan.images[0], self.codebook.space
        assert source is not None
        folder, native = self.output / "segmentations", segmentation.native
        write_derivative(folder, source, native, space, self.provenance, scan.id)
        if self.views:
            spacing = segmentation.geometry.canonical_spacing
            image = read_volume(source).data
            view = make_view(scan.id, image, truth, segmentation.leaves, self.codebook, spacing)
            files = [digest_of(path) for path in (source, scan.label) if path is not None]
            write_view(self.output / VIEWS, replace(view, files=digest_of_content(files)))

    def draw(
        self,
        scan: Scan,
        segmentation: Segmentation,
        truth: np.ndarray,
        scores: Sequence[ClassScore],
    ) -> None:
        """Draw the segmentation of a scan with the truth and the mean Dice of the leaves."""
        dice = np.array([score.dice for score in scores if score.is_leaf])
        write_overlay(
            self.output / "pictures" / f"{scan.id}.png",
            segmentation.image,
            segmentation.prepared_leaves,
            prepare_labels(truth, segmentation.geometry),
            self.codebook,
            segmentation.geometry.spacing,
            scan=scan.id,
            scan_age=scan.scan_age,
            mean_dice=float(np.nanmean(dice)) if np.isfinite(dice).any() else None,
        )
