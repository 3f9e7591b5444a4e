"""Runs of a report as they are told to others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from neoseg.evaluation.report.cases import full_id
from neoseg.evaluation.report.collect import Collected
from neoseg.findings.privacy import Privacy, numbered, shared


def shared_runs(
    collected: Collected, folder: Path, privacy: Privacy
) -> tuple[Collected, dict[str, str]]:
    """Leave out of runs below `folder` what `privacy` says.

    Subjects are numbered over all runs, the sessions of a subject over its own.

    Returns:
        The runs, and what each scan is called in their folders where that is something else.
    """
    if privacy == "none":
        return collected, {}
    known = [str(folder), str(folder.resolve())]
    runs = tuple(replace(run, record=shared(run.record, privacy, known)) for run in collected.runs)
    unfinished = tuple(
        replace(
            left,
            path=left.path.relative_to(folder),
            reason=shared(left.reason, privacy, known),
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
            full_id(*pair): full_id(*was)
            for pair, was in zip(zip(new, visits, strict=True), old, strict=True)
        }
        scores = scores.assign(subject=new, session=visits)
    return replace(collected, scores=scores, runs=runs, unfinished=unfinished), files
