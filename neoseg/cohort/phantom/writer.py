"""Write scans and tables in the dHCP release-3 layout; every file is written atomically."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from neoseg.cohort.phantom.parcels import TISSUES, structures
from neoseg.cohort.phantom.scan import PhantomScan
from neoseg.cohort.phantom.subject import Session, Subject
from neoseg.cohort.table import write_rows
from neoseg.files import write_volume

PIPELINE = Path("derivatives") / "dhcp_anat_pipeline"


def scan_files(pipeline: Path, subject: Subject, session: Session) -> dict[str, Path]:
    """Return the path of every file of a session, by the array it holds."""
    prefix = f"sub-{subject.participant_id}_ses-{session.session_id}"
    folder = pipeline / f"sub-{subject.participant_id}" / f"ses-{session.session_id}" / "anat"
    names = {"t2w": "T2w", "t2w_restored": "desc-restore_T2w"}
    if session.has_t1w:
        names |= {"t1w": "T1w", "t1w_restored": "desc-restore_T1w"}
    names |= {
        "mask": "desc-brain_mask",
        "labels9": "desc-drawem9_dseg",
        "labels87": "desc-drawem87_dseg",
    }
    return {key: folder / f"{prefix}_{name}.nii.gz" for key, name in names.items()}


def is_complete(pipeline: Path, subject: Subject, session: Session) -> bool:
    """Return whether every file of a session exists; existing files are complete."""
    return all(path.is_file() for path in scan_files(pipeline, subject, session).values())


def write_scan(pipeline: Path, scan: PhantomScan) -> None:
    """Write all volumes of a scan."""
    for key, path in scan_files(pipeline, scan.subject, scan.session).items():
        array = getattr(scan, key)
        # Some label files of the real releases are floating point with integral values.
        if key.startswith("labels") and scan.session.float_labels:
            array = array.astype(np.float64)
        write_volume(path, array, scan.affine)


def write_sessions(pipeline: Path, subject: Subject) -> None:
    """Write a subject's table of sessions; ids have no prefix."""
    name = f"sub-{subject.participant_id}"
    columns = ("session_id", "scan_age", "scan_head_circumference", "radiology_score")
    rows = (
        (s.session_id, s.scan_age, s.head_circumference, s.radiology_score, s.visit + 1, s.sedation)
        for s in subject.sessions
    )
    path = pipeline / name / f"{name}_sessions.tsv"
    write_rows(path, (*columns, "scan_number", "sedation"), rows)


def write_cohort_tables(pipeline: Path, subjects: Iterable[Subject]) -> None:
    """Write the label tables and the table of participants."""
    columns = ("index", "name")
    parts = ((structure.index, structure.name) for structure in structures())
    write_rows(pipeline / "desc-drawem87_dseg.tsv", columns, parts)
    write_rows(pipeline / "desc-drawem9_dseg.tsv", columns, TISSUES.items())
    people = ("sex", "birth_age", "birth_weight", "singleton")
    rows = ([s.participant_id, *(getattr(s, key) for key in people)] for s in subjects)
    write_rows(pipeline / "participants.tsv", ("participant_id", *people), rows)
