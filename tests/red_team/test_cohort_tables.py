"""The tables of a stranger's cohort: participants.tsv, its sidecar, and the names of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from neoseg.cohort import read_bids
from neoseg.labels import LabelSpace

PAYLOADS = {
    "resolver": "${oc.env:CANARY}",
    "nested resolver": "${oc.${m}:CANARY}",
    "target": "{_target_: os.system, command: touch mark}",
    "tag": "!!python/object/apply:os.system ['touch mark']",
    "traversal": "../../secret",
    "absolute path": "/proc/self/environ",
    "formula": "=cmd|'/c touch mark'!A1",
    "shell": "$(touch mark)`touch mark`",
    "terminal": "\x1b]0;CANARY\x07",
    "zero byte": "a\0b",
    "giant": "x" * 10**6,
}
CARRIERS = {
    "an id": ("participants.tsv", "participant_id\tscan_age\nsub-01\t40\n{}\t41\n"),
    "an age": ("participants.tsv", "participant_id\tscan_age\nsub-01\t{}\n"),
    "a session": ("participants.tsv", "participant_id\tsession_id\tscan_age\nsub-01\t{}\t40\n"),
    "a column": ("participants.tsv", "participant_id\t{}\nsub-01\t40\n"),
    "a unit": ("participants.json", '{{"scan_age": {{"Units": "{}"}}}}'),
    "an integer of a label": ("dseg.tsv", "index\tname\n{}\tCSF\n1\tcGM\n"),
    "the name of a label": ("dseg.tsv", "index\tname\n0\tBG\n1\t{}\n"),
    "an abbreviation": ("sub-01/dseg.tsv", "index\tname\tabbreviation\n0\tBG\t\n1\tgrey\t{}\n"),
}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_cell_is_a_cell(canary: Any, drawem9: LabelSpace, carrier: str, payload: str) -> None:
    root: Path = canary.folder / "cohort"
    (root / "sub-01" / "anat").mkdir(parents=True)
    for name in ("T2w", "dseg"):
        image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
        nib.save(image, root / "sub-01" / "anat" / f"sub-01_{name}.nii.gz")
    (root / "participants.tsv").write_text("participant_id\tscan_age\nsub-01\t40\n")
    place, text = CARRIERS[carrier]
    (root / place).write_text(text.format(PAYLOADS[payload]), encoding="utf-8")
    found = canary.harmless(lambda: read_bids(root, drawem9, on_error="collect"))
    if found is not None:
        assert [scan.id for scan in found.scans] == ["sub-01"]
        assert "\x1b" not in "".join(map(str, found.problems))
