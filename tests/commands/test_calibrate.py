"""`neoseg.calibrate`, and what `neoseg.predict` promises after it, of a run and of its file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neoseg.cohort import Scan
from neoseg.cohort.annotation import read_plan
from neoseg.evaluation.report.expected import read_expected
from neoseg.own_code import current_code
from neoseg.runs.people import write_images
from neoseg.runs.unseen import member_of

Command = Callable[..., int]


@pytest.fixture
def run(untrained: Callable[..., Path]) -> Path:
    """A run of an untrained network; of six newborns it was to be trained with two."""
    return untrained("split.fractions=[0.4,0,0.6]")


def test_promises_from_a_run_and_from_its_file(
    command: Command, run: Path, data_folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    cpu, out = "device=cpu", f"output={tmp_path / 'x'}"
    assert command("predict", f"run={run}", f"input={tmp_path}", out, "sets=0.5", cpu) == 2
    assert "they are not calibrated" in "".join(capsys.readouterr())

    with monkeypatch.context() as somebody_elses:
        somebody_elses.setattr(os, "access", lambda place, _: place != run)
        assert command("calibrate", f"run={run}", "part=test", cpu) == 2
    assert f"copy {run} to a place of your own" in "".join(capsys.readouterr())
    assert command("calibrate", f"run={run}", "part=test", cpu) == 0
    seen = {p: p.stat().st_mtime_ns for p in run.glob("calibration/*/sub-*.json")}
    assert len(read_expected(run)) == len(seen)  # what a report shows
    assert len(seen) >= 3
    assert "needs 19 scans" in capsys.readouterr().out
    assert command("calibrate", f"run={run}", "part=test", cpu) == 0
    assert {p: p.stat().st_mtime_ns for p in seen} == seen  # nothing is observed twice

    model = tmp_path / "model.neoseg"
    assert command("export", f"run={run}", f"output={model}") == 0
    scan = next(data_folder.rglob("*_desc-restore_T2w.nii.gz"))
    asked = (f"input={scan}", "picture=false", "sets=0.6", "trust=0.5", cpu)
    for key, place in (("run", run), ("model", model)):
        assert command("predict", f"{key}={place}", *asked, f"output={tmp_path / f'by_{key}'}") == 0
    classes, depths, tables = (
        [next((tmp_path / f"by_{key}").rglob(name)) for key in ("run", "model")]
        for name in ("*sets_dseg.nii.gz", "*_statmap.nii.gz", "desc-neoseg_trust.tsv")
    )
    for ours, theirs in (classes, depths):
        np.testing.assert_array_equal(nib.load(ours).dataobj, nib.load(theirs).dataobj)
    assert tables[0].read_text() == tables[1].read_text()
    row = pd.read_csv(tables[0], sep="\t").iloc[0]
    assert row["scan_low"] <= row["scan_dice"] <= row["scan_high"]
    known = pd.read_csv(tmp_path / "by_run" / "desc-neosegsets_dseg.tsv", sep="\t")
    found = np.unique(nib.load(classes[0]).dataobj)
    assert set(found) <= set(known["index"])
    assert len(found) > 1

    capsys.readouterr()
    assert command("predict", f"run={run}", *asked, f"output={tmp_path / 'by_run'}") == 0
    assert "1 of 1 scans are segmented already" in capsys.readouterr().out
    assert command("predict", f"run={run}", *asked, "sets=0.9", f"output={tmp_path}/x") == 2
    assert "needs at least 9 calibration scans" in "".join(capsys.readouterr())


def test_promises_of_a_network_of_another_package_travel_in_its_file(
    command: Command, run: Path, data_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "nets.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(tmp_path / "code")
    (run / "code.json").write_text(json.dumps(current_code(["nets"], ["nets"])))
    own, model = ("device=cpu", "allow=[nets]"), tmp_path / "model.neoseg"
    assert command("calibrate", f"run={run}", "part=test", *own) == 0
    assert command("export", f"run={run}", f"output={model}", "allow=[nets]") == 0
    scan = next(data_folder.rglob("*_desc-restore_T2w.nii.gz"))
    asked = (f"input={scan}", "picture=false", "sets=0.6", f"output={tmp_path / 'out'}", *own)
    assert command("predict", f"model={model}", *asked) == 0
    assert list((tmp_path / "out").rglob("*sets_dseg.nii.gz"))


def test_who_was_trained_on_is_refused(
    command: Command, run: Path, data_folder: Path, capsys
) -> None:
    plan = run / "annotation.csv"
    rows = read_plan(plan)
    (train, test) = (next(row for row in rows if row.split == part) for part in ("train", "test"))
    image = next(data_folder.rglob(f"sub-{test.subject}*_desc-restore_T2w.nii.gz"))
    scan = Scan(train.subject, train.session, (image,), *[None] * 4, train.cohort)
    write_images(run, [member_of(scan, "train")])  # the files have been exchanged since
    for words in (("calibrate", "part=test"), ("evaluate", f"output={run.parent / 'out'}")):
        assert command(*words, f"run={run}", "device=cpu") == 2
        assert "shows the same voxels as" in "".join(capsys.readouterr())
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("leaks: stop", "leaks: tell"))
    evaluate = ("evaluate", f"run={run}", "device=cpu", "pictures=0", "scoring.views=false")
    assert command(*evaluate, "seen=leave_out", f"output={run}") == 2  # would lose scores of others
    left = run.parent / "left"
    assert command(*evaluate, "seen=leave_out", f"output={left}") == 0
    assert test.subject not in set(pd.read_csv(left / "scores.csv", dtype=str)["subject"])
    assert command("calibrate", f"run={run}", "part=test", "device=cpu") == 0
    assert "shows the same voxels as" in "".join(capsys.readouterr())
    config.write_text(config.read_text().replace("leaks: tell", "leaks: stop"))
    (run / "images.json").unlink()
    plan.write_text(plan.read_text().replace(",test,", ",train,", 1))
    assert command("calibrate", f"run={run}", "part=test", "device=cpu") == 2
    said = "".join(capsys.readouterr())
    assert said.count("which is for train") == 1
    assert "choose subjects=[...]" in said
    assert command("calibrate", f"run={run}", "part=val", "device=cpu") == 2
    assert "has no labelled scan" in "".join(capsys.readouterr())
