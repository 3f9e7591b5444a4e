"""Score a network on the scans of several cohorts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.cohort import Cohort, Scan
from neoseg.cohort.plan import cohort_folder
from neoseg.evaluation.score_files import conclude
from neoseg.evaluation.scoring import ScoreSettings, ToleranceCheck, score_scans
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import Segmenter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """The scans of a cohort to be scored."""

    cohort: Cohort
    scans: tuple[Scan, ...]

    @property
    def is_labelled(self) -> bool:
        """Whether any of the scans has a label file."""
        return any(scan.label is not None for scan in self.scans)


def score_cohorts(
    segmenter: Segmenter,
    parts: Sequence[Scored],
    output: Path,
    provenance: Provenance,
    settings: ScoreSettings,
    **options: Any,
) -> pd.DataFrame:
    """Segment and score the scans of several cohorts; write one `scores.csv` for all.

    Other outputs of the first cohort go to `output` itself, those of the others to
    `output/cohorts/<name>`. If there are several cohorts, those without labels are skipped with a
    warning.

    Args:
        segmenter: the network and its inference settings.
        parts: the scans to score, one entry per cohort.
        output: see `score_scans`.
        provenance: written to the description of the derivatives.
        settings: what to score.
        options: passed to `score_scans`.

    Returns:
        One row per scan and class.

    Raises:
        ValueError: if no scan has labels, or a file is invalid.
    """
    scored = list[tuple[Path, pd.DataFrame]]()
    several, check = len(parts) > 1, ToleranceCheck(settings.nsd_tolerance)
    options |= {"settings": settings, "check": check, "is_all": not several}
    for number, part in enumerate(parts):
        name = part.cohort.name
        if part.scans and not part.is_labelled and several:
            log.warning("no scan of cohort '%s' has labels to score with", name)
        if part.is_labelled or not several:
            folder = cohort_folder(output, name) if number else output
            where = (part.scans, part.cohort.convention, folder, provenance)
            scores = score_scans(segmenter, *where, **options)
            scored.append((folder, scores))
    if not scored:
        raise ValueError("none of the scans to score has a label file")
    table = pd.concat([scores for _, scores in scored], ignore_index=True)
    if several:
        for folder, scores in scored:
            if folder != output:
                conclude(folder, scores)
        conclude(output, table)
    return table
