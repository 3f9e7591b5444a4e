"""Score a network on the scans of several cohorts."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    *,
    hidden: Collection[str] = (),
    pictures: int = 4,
    progress: Callable[[str], None] | None = None,
    made_of: str | None = None,
) -> pd.DataFrame:
    """Segment and score the scans of several cohorts; write one `scores.csv` for all.

    Other outputs of the first cohort go to `output` itself, those of the others to
    `output/cohorts/<name>`. Cohorts without labels are skipped with a warning.

    Args:
        segmenter: the network and its inference settings.
        parts: the scans to score, one entry per cohort.
        output, provenance, settings, hidden, pictures, progress, made_of: see `score_scans`.

    Returns:
        One row per scan and class.

    Raises:
        ValueError: if no scan has labels, or a file is invalid.
    """
    scored = list[tuple[Path, pd.DataFrame]]()
    check = ToleranceCheck(settings.nsd_tolerance)
    for number, part in enumerate(parts):
        name = part.cohort.name
        if part.is_labelled:
            folder = cohort_folder(output, name) if number else output
            scores = score_scans(
                *(segmenter, part.scans, part.cohort.convention, folder, provenance),
                *(settings, check),
                hidden=hidden,
                pictures=pictures,
                progress=progress,
                made_of=made_of,
            )
            scored.append((folder, scores))
        elif part.scans:
            log.warning("no scan of cohort '%s' has labels to score with", name)
    if not scored:
        raise ValueError("none of the scans to score has a label file")
    table = pd.concat([scores for _, scores in scored], ignore_index=True)
    for folder, scores in scored:
        if folder != output:
            conclude(folder, scores)
    conclude(output, table)
    return table
