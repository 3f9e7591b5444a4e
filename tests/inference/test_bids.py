"""What is written is BIDS: the validator finds no error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neoseg.cohort.phantom.generation import generate_cohort
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.inference.dataset import Provenance
from neoseg.inference.derivative import write_derivative
from neoseg.inference.origin import Origin
from neoseg.labels import LabelSpace, LabelTable

sys.path.append(str(Path(__file__).parents[1] / "red_team"))
from honest import TABLE
from small_segmenter import write_scan

NAME = "bids-validator-deno"
VALIDATOR = shutil.which(NAME) or shutil.which(NAME, path=str(Path(sys.executable).parent))


def errors(folder: Path) -> list[dict[str, str]]:
    if VALIDATOR is None:
        pytest.skip(f"{NAME} is not installed (pip install {NAME})")
    found = subprocess.run([VALIDATOR, folder, "--json"], capture_output=True, text=True)
    issues = json.loads(found.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


@pytest.fixture
def derivatives(tmp_path: Path) -> Path:
    space = LabelSpace.from_table(LabelTable.parse(TABLE))
    out = tmp_path / "out"
    for name in ("sub-1_ses-2_desc-restore_T2w", "my scan"):
        source = write_scan(tmp_path / f"{name}.nii.gz", np.ones((4, 5, 6)))
        labels = np.zeros((4, 5, 6), np.uint8)
        target = write_derivative(out, source, labels, space, Provenance("neoseg", "1", "A"))
        Origin("A", (), "").keep(target, [source])
        for desc in ("label-Fl_desc-neoseg", "desc-confidence"):  # as probseg= and pseudo-labels
            other = target.name.replace("desc-neoseg_dseg", f"{desc}_probseg")
            shutil.copy(target, target.with_name(other))
        (out / "pictures").mkdir(exist_ok=True)
        (out / "pictures" / f"{target.name.split('.')[0]}.png").write_bytes(b"x")
    return out


def test_derivatives_are_bids(derivatives: Path) -> None:
    assert errors(derivatives) == []


def test_the_phantom_is_bids(tmp_path: Path) -> None:
    settings = PhantomSettings(subjects=1, spacing=5.0)
    assert errors(generate_cohort(tmp_path, settings) / "derivatives/dhcp_anat_pipeline") == []


def test_a_root_says_what_its_segmentations_are(derivatives: Path) -> None:
    told = json.loads(next(derivatives.glob("sub-1/**/*_dseg.json")).read_text())
    assert told["SpatialReference"] == "orig"
    assert told["Sources"] == ["sub-1_ses-2_desc-restore_T2w.nii.gz"]
    assert (derivatives / "README.md").is_file()
    (derivatives / "README.md").write_text("mine")
    source = write_scan(derivatives.parent / "sub-3_T2w.nii.gz", np.ones((4, 5, 6)))
    space = LabelSpace.from_table(LabelTable.parse(TABLE))
    labels = np.zeros((4, 5, 6), np.uint8)
    write_derivative(derivatives, source, labels, space, Provenance("neoseg", "1", "A"))
    assert (derivatives / "README.md").read_text() == "mine"
