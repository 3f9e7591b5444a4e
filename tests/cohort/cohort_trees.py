"""Small trees of files in the layouts of the dHCP releases and of BIDS derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

DHCP_FILES = {
    3: (
        "T2w desc-restore_T2w T1w desc-restore_T1w desc-drawem9_dseg desc-drawem87_dseg "
        "desc-brain_mask"
    ),
    2: (
        "desc-restore_T2w space-T2w_T1w desc-restore_space-T2w_T1w desc-drawem9_space-T2w_dseg "
        "desc-drawem87_space-T2w_dseg desc-bet_space-T2w_brainmask desc-drawem_space-T2w_brainmask"
    ),
    1: (
        "T2w T2w_restore T1w T1w_restore drawem_tissue_labels drawem_all_labels brainmask_bet "
        "brainmask_drawem"
    ),
}
PIPELINE = {
    3: "derivatives/dhcp_anat_pipeline",
    2: "derivatives/dhcp_anat_pipeline",
    1: "derivatives",
}


def add_scan(
    root: Path, subject: str, session: str | None, names: Iterable[str], extension: str = ".nii.gz"
) -> Path:
    """Write one `anat` folder; readers look at names and sizes only."""
    folder = root / f"sub-{subject}"
    prefix = f"sub-{subject}"
    if session is not None:
        folder, prefix = folder / f"ses-{session}", f"{prefix}_ses-{session}"
    anat = folder / "anat"
    anat.mkdir(parents=True, exist_ok=True)
    for name in names:
        (anat / f"{prefix}_{name}{extension}").write_bytes(b"nifti")
    return anat


def add_table(path: Path, *rows: str) -> None:
    """Write a table; the cells of a row are given apart by spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows))


def make_dhcp(root: Path, release: int = 3, without: Iterable[str] = ()) -> Path:
    """Three subjects, one with two sessions; returns the folder of the pipeline."""
    base = root / PIPELINE[release]
    names = [name for name in DHCP_FILES[release].split() if name not in set(without)]
    for subject, session in (("CC01", "7"), ("CC01", "0100"), ("CC02", "3"), ("007", "5")):
        add_scan(base, subject, session, names)
    sex = "sex" if release == 3 else "gender"
    add_table(
        (base if release == 3 else root) / "participants.tsv",
        f"participant_id {sex} birth_age birth_weight singleton",
        "CC01 male 28.5 1.1 single",
        "sub-CC02 female 39 3.2 -999",
        "007 female -999 0.0 n/a",
    )
    header = "session_id scan_age scan_head_circumference radiology_score"
    add_table(base / "sub-CC01/sub-CC01_sessions.tsv", header, "7 30 -999 Q", "0100 40.5 33 3Q")
    add_table(base / "sub-CC02/sub-CC02_sessions.tsv", header, "ses-3 41 35 1")
    return base


FILES = ("T2w", "desc-manual_dseg", "desc-brain_mask")


def make_bids(root: Path, files: tuple[str, ...] = FILES) -> None:
    """Make a tree of three scans of two people."""
    add_scan(root, "01", None, files)
    add_scan(root, "02", "a", files)
    add_scan(root, "02", "b", files)
    add_table(root / "participants.tsv", "participant_id scan_age", "sub-01 28.1", "sub-02 38")


def write_names(path: Path, *rows: str) -> None:
    """Write a table of names."""
    path.write_text("".join(f"{row}\n" for row in ("index\tname\tabbreviation", *rows)))
