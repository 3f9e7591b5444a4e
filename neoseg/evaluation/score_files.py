"""Write the segmentations, views and pictures of scored scans."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from neoseg.cohort import Scan
from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.scores import ClassScore
from neoseg.evaluation.table import read_scores, write_scores
from neoseg.evaluation.view import VIEWS, make_view, write_view
from neoseg.files import write_text
from neoseg.inference.dataset import DESC, Provenance, table_path
from neoseg.inference.derivative import write_derivative
from neoseg.inference.overlay import write_overlay
from neoseg.inference.segmentation import Segmentation
from neoseg.labels import Codebook
from neoseg.store import prepare_labels, read_volume

DONE, MADE_OF = ".scored", "made_of"
"""Folder of the scores of single scans while others are still to be scored."""


def conclude(folder: Path, table: pd.DataFrame) -> None:
    """Write the scores of all scans; those of single scans are needed no more."""
    write_scores(folder / "scores.csv", table)
    shutil.rmtree(folder / DONE, ignore_errors=True)


@dataclass(frozen=True)
class ScoreFiles:
    """The files that scoring writes for each scan into the folder `output`.

    Attributes:
        output: receives `segmentations/` (BIDS derivatives), `pictures/` and `views/`.
        codebook: its rows are the codes of the truth.
        provenance: written to the description of the derivatives.
        views: whether to keep small copies of the scans for the report.
        made_of: digest of all that the outputs depend on, by which an interrupted pass goes on;
            None: it starts again.
    """

    output: Path
    codebook: Codebook
    provenance: Provenance
    views: bool
    made_of: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether an interrupted pass over the same inputs has left scores of single scans."""
        path = self._done / MADE_OF
        return path.is_file() and path.read_text(encoding="utf-8") == self.made_of

    @property
    def _done(self) -> Path:
        return self.output / DONE

    def clear(self) -> None:
        """Delete the outputs of an earlier pass, so that all that is in a folder matches.

        Without `scores.csv`, an interrupted pass is not mistaken for a finished one.
        """
        segmented = self.output / "segmentations"
        for path in (
            self.output / "scores.csv",
            *(self.output / VIEWS).glob("*.npz"),
            *(self.output / "pictures").glob("*.png"),
            *segmented.rglob(f"*_desc-{DESC}_dseg.nii.gz"),
            table_path(segmented, "volumes"),
            segmented / "dataset_description.json",
        ):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._done, ignore_errors=True)
        if self.made_of is not None:
            write_text(self._done / MADE_OF, self.made_of)

    def kept(self, scan: Scan) -> pd.DataFrame | None:
        """Return the scores of a scan from the interrupted pass, None if it was not scored."""
        path = self._done / f"{scan.id}.csv"
        return read_scores(path) if path.is_file() else None

    def keep(self, scan: Scan, scores: pd.DataFrame) -> None:
        """Keep the scores of a scan until all are scored."""
        if self.made_of is not None:
            write_scores(self._done / f"{scan.id}.csv", scores)

    def write(self, scan: Scan, segmentation: Segmentation, truth: np.ndarray) -> None:
        """Write the segmentation of a scan, and its view with the truth on the canonical grid."""
        source, space = scan.images[0], self.codebook.space
        assert source is not None
        folder, native = self.output / "segmentations", segmentation.native
        write_derivative(folder, source, native, space, self.provenance, scan.id)
        if self.views:
            spacing = segmentation.geometry.canonical_spacing
            image = read_volume(source).data
            layers = image, truth, segmentation.leaves, self.codebook, spacing
            view = make_view(scan.id, *layers, segmentation.prepare.window)
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
            window=segmentation.prepare.shown,
            mean_dice=float(np.nanmean(dice)) if np.isfinite(dice).any() else None,
        )
