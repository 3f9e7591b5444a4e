"""Generate a whole phantom cohort on disk, in parallel, restartable after an interruption."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from neoseg.cohort.phantom.scan import generate_scan
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.subject import Subject, draw_subject
from neoseg.cohort.phantom.writer import (
    PIPELINE,
    is_complete,
    write_cohort_tables,
    write_scan,
    write_sessions,
)
from neoseg.files import write_bytes, write_json
from neoseg.processes import work_through

logger = logging.getLogger(__name__)

VERSION = 1
"""Increased whenever the same settings give different images, so that versions are never mixed."""

RECORD = "phantom.json"


def generate_cohort(
    output: Path,
    settings: PhantomSettings,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a cohort below `output` and return `output`.

    Scans finished by an interrupted call are kept. The bytes depend on the settings alone, not on
    `workers` (processes). `progress` is called with (finished, all) after each scan.

    Raises:
        ValueError: `workers` is below one.
        ProcessError: a worker process was killed from outside.
        FileExistsError: `output` holds a phantom cohort with other settings, or another data set.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    output = Path(output)
    pipeline = output / PIPELINE
    _claim(output, pipeline, settings)
    subjects = [draw_subject(settings, number) for number in range(settings.subjects)]
    total = sum(len(subject.sessions) for subject in subjects)
    pending = [
        (subject.number, session.visit)
        for subject in subjects
        for session in subject.sessions
        if not is_complete(pipeline, subject, session)
    ]
    done = total - len(pending)
    logger.info("phantom cohort in %s: %d of %d scans to generate", output, len(pending), total)
    if progress is not None and done:
        progress(done, total)
    make = partial(make_scan, pipeline, settings)
    processes = max(1, min(workers, len(pending)))
    for _ in work_through(make, pending, processes, "cohort.workers"):
        done += 1
        if progress is not None:
            progress(done, total)
    _finish(pipeline, settings, subjects)
    return output


def make_scan(pipeline: Path, settings: PhantomSettings, place: tuple[int, int]) -> None:
    """Generate and write one scan, given its subject and visit."""
    number, visit = place
    subject = draw_subject(settings, number)
    write_scan(pipeline, generate_scan(settings, subject, subject.sessions[visit]))


def _claim(output: Path, pipeline: Path, settings: PhantomSettings) -> None:
    """Record the settings first, so that a restart can check finished scans against them."""
    record = output / RECORD
    wanted = {"version": VERSION, "settings": asdict(settings)}
    if record.is_file():
        found = json.loads(record.read_text(encoding="utf-8"))
        if found != wanted:
            raise FileExistsError(
                f"{record}: this folder holds a phantom cohort with other settings "
                f"({_differences(found, wanted)}); choose another output folder or delete this one"
            )
    elif pipeline.exists():
        raise FileExistsError(
            f"{pipeline} exists, but {record} that would say it is a phantom cohort does not; "
            "choose an empty output folder"
        )
    else:
        write_json(record, wanted, indent=2)


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    old = {"version": found.get("version"), **found.get("settings", {})}
    new = {"version": wanted["version"], **wanted["settings"]}
    return ", ".join(
        f"{key} is {old.get(key)} there and {new.get(key)} here"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    )


def _finish(pipeline: Path, settings: PhantomSettings, subjects: list[Subject]) -> None:
    for subject in subjects:
        write_sessions(pipeline, subject)
    write_cohort_tables(pipeline, subjects)
    has_t1w = any(session.has_t1w for subject in subjects for session in subject.sessions)
    for modality in ("T1w", "T2w")[not has_t1w :]:
        write_json(pipeline / f"{modality}.json", {"SkullStripped": False}, indent=2)
    # As in the dHCP, ids in these tables have no `sub-` and `ses-`, which BIDS requires.
    write_bytes(pipeline / ".bidsignore", b"participants.tsv\n*_sessions.tsv\n")
    write_bytes(pipeline / "README.md", b"Synthetic newborn brains; nobody was scanned.\n")
    write_json(
        pipeline / "dataset_description.json",
        {
            "Name": "neoseg phantom: synthetic newborn brains",
            "BIDSVersion": "1.8.0",
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": "neoseg phantom", "Version": str(VERSION), "Parameters": asdict(settings)}
            ],
        },
        indent=2,
    )
