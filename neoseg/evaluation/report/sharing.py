"""Remove private information from the runs of a report before it is shared."""

from dataclasses import replace
from pathlib import Path

from neoseg.evaluation.report.cases import full_id
from neoseg.evaluation.report.collect import Collected
from neoseg.findings.privacy import Privacy, numbered, shared


def shared_runs(
    collected: Collected, folder: Path, privacy: Privacy
) -> tuple[Collected, dict[str, str]]:
    """Remove from runs below `folder` what the `privacy` level excludes.

    Subjects are numbered across all runs, sessions within each subject.

    Returns:
        The runs, and a mapping from new scan ids to those in the runs' folders (empty if ids are
        unchanged).
    """
    if privacy == "none":
        return collected, {}
    paths = [str(folder), str(folder.resolve())]
    runs = tuple(replace(run, record=shared(run.record, privacy, paths)) for run in collected.runs)
    unfinished = tuple(
        replace(
            left,
            path=left.path.relative_to(folder),
            reason=shared(left.reason, privacy, paths),
        )
        for left in collected.unfinished
    )
    scores, files = collected.scores, {}
    if privacy == "subjects":
        cohorts = scores["subject"].str.rpartition("/")
        subjects = numbered(cohorts[2])
        new = cohorts[0] + cohorts[1] + cohorts[2].map(subjects)
        sessions = {
            subject: numbered(part) for subject, part in scores.groupby("subject")["session"]
        }
        visits = [
            sessions[pair[0]][pair[1]]
            for pair in zip(scores["subject"], scores["session"], strict=True)
        ]
        old = zip(scores["subject"], scores["session"], strict=True)
        files = {
            full_id(*pair): full_id(*original)
            for pair, original in zip(zip(new, visits, strict=True), old, strict=True)
        }
        people = scores["person"].map(dict(zip(scores["subject"], new, strict=True)))
        scores = scores.assign(subject=new, session=visits, person=people)
    return replace(collected, scores=scores, runs=runs, unfinished=unfinished), files
