"""`neoseg.plan_annotation`: from a run to a table that the next training takes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from neoseg.cohort import Scan
from neoseg.commands.annotation_tables import _started
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.files import write_bytes, write_text
from neoseg.runs.people import write_images
from neoseg.runs.unseen import member_of


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "+experiment=label_set annotation=superclass 'annotation.protocol.merge=[TCV]' seed=3",
            "--config-dir={plan} +experiment=label_set seed=3",
        ),
        (
            "--config-dir conf labels=four annotation.draw=1 'name=a b'",
            "--config-dir conf 'hydra.searchpath=[\"file://{plan}\"]' labels=four 'name=a b'",
        ),
        ("--config-dir {old} annotation=planned seed=3", "--config-dir={plan} seed=3"),
        ("resume=runs/a trainer.max_epochs=9", "--config-dir={plan}"),
        (None, "--config-dir={plan}"),
    ],
)
def test_the_training_that_follows_is_that_of_the_run(
    before: str | None, after: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, old = tmp_path / "plan", tmp_path / "old"
    write_text(old / "annotation" / "planned.yaml", "")
    if before is not None:
        record = {"command": f"/bin/python -m neoseg.train {before.format(old=old)}"}
        (tmp_path / "run.json").write_text(json.dumps(record))
    assert _started(tmp_path, plan) == f"python -m neoseg.train {after.format(plan=plan)}"
    is_known = before is not None and "resume=" not in before
    assert ("does not tell the command" in caplog.text) == (not is_known)


def test_a_resumed_run_keeps_the_command_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "command.txt").write_text("python -m neoseg.train +experiment=paper_2d\n")
    (tmp_path / "run.json").write_text(json.dumps({"command": "neoseg.train resume=a"}))
    told = f"python -m neoseg.train --config-dir={tmp_path / 'plan'} +experiment=paper_2d"
    assert _started(tmp_path, tmp_path / "plan") == told


@pytest.mark.parametrize("own", [True, False])
def test_a_plan_of_an_untrained_network(
    own: bool,
    command: Callable[..., int],
    untrained: Callable[..., Path],
    compose_train: Callable[..., DictConfig],
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = (
        "annotation=superclass",
        "annotation.full_fraction=0.2",
        "split.fractions=[0.6,0.2,0.2]",
    )
    run = untrained(*some)
    output = tmp_path / "plan"
    image = next(data_folder.rglob("*_desc-restore_T2w.nii.gz"))
    asked = (f"run={run}", "device=cpu", f"output={output}", *([] if own else [f"pool={image}"]))
    assert command("plan_annotation", *asked, "budget=0.1") == 2  # too little for anything
    assert command("plan_annotation", *asked, "budget=65") == 0
    assert command("plan_annotation", *asked, "budget=65") == 2  # what is there may be edited
    assert command("plan_annotation", *asked, "budget=65", "overwrite=true") == 0
    rows = pd.read_csv(output / "plan.tsv", sep="\t")
    assert 0 < rows["minutes"].sum() <= 65
    assert rows["reason"].str.contains("settles").all()
    assert rows["scan"][0] in (output / "plan.html").read_text()
    if not own:
        model = tmp_path / "model.neoseg"
        assert command("export", f"run={run}", f"output={model}") == 0
        asked = (f"run={model}", f"pool={image}", "device=cpu", f"output={tmp_path / 'plan_2'}")
        assert command("plan_annotation", *asked, "budget=65") == 0
        assert pd.read_csv(tmp_path / "plan_2" / "plan.tsv", sep="\t").equals(rows)
        return
    assert list(run.rglob("doubt/*.json"))  # for the next plan
    allowed = os.access
    shutil.rmtree(run / "calibration")
    monkeypatch.setattr(os, "access", lambda place, mode: place != run and allowed(place, mode))
    assert command("plan_annotation", *asked, "budget=65", "overwrite=true") == 0
    assert not (run / "calibration").exists()
    assert list(output.rglob("doubt/*.json"))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        path = f"hydra.searchpath=[file://{output}]"
        base = ["cohort.phantom.subjects=6", "cohort.phantom.spacing=4.0", "cohort.workers=1"]
        data = f"paths.data={data_folder}"
        after = compose("train", [path, *base, data, some[2], "annotation=planned"])
    source = RunConfig.parse(after).plan().sources[0]
    ids = {scan.id: item.protocol for scan, item in source.of_split("train")}
    assert all(ids[row.scan] == row.annotation for row in rows.itertuples())
    assert "superclass" in ids.values() or len(rows) == len(ids) - 1


def test_a_scan_of_the_pool_that_cannot_be_read_is_left_out(
    command: Callable[..., int],
    untrained: Callable[..., Path],
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, pool = untrained(), tmp_path / "pool"
    pool.mkdir()
    image = next(data_folder.rglob("*_desc-restore_T2w.nii.gz"))
    (pool / "a_7.nii.gz").write_bytes(image.read_bytes())
    (pool / "b_T2w.nii.gz").write_bytes(image.read_bytes()[:900])
    shutil.copy(image, os.fsencode(pool) + b"/c\xff_T2w.nii.gz")
    asked = (f"run={run}", "device=cpu", f"pool={pool}", "budget=65", "names={T2w: 7}")
    assert command("plan_annotation", *asked, f"output={tmp_path / 'plan'}") == 0
    said = capsys.readouterr().out
    assert "b_T2w.nii.gz is left out of the plan" in said
    assert "_T2w.nii.gz is left out of the plan: its name is not UTF-8" in said
    assert len(pd.read_csv(tmp_path / "plan" / "plan.tsv", sep="\t")) == 1
    (pool / "a_7.nii.gz").unlink()
    assert command("plan_annotation", *asked, f"output={tmp_path / 'none'}") == 2
    assert not (tmp_path / "none").exists()


def test_full_scans_that_lack_a_structure_are_named(
    command: Callable[..., int],
    untrained: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = untrained("annotation=full", "+cohort.not_drawn={dGM: all}")
    asked = (f"run={run}", "device=cpu", "budget=65", f"output={tmp_path / 'plan'}")
    assert command("plan_annotation", *asked) == 2
    said = "".join(capsys.readouterr())
    assert "scans count as full, and lack structures (cohort.not_drawn)" in said
    assert "every training scan of the run is annotated in full" in said


def test_what_files_of_one_structure_leave_open_stays_open(
    command: Callable[..., int],
    untrained: Callable[..., Path],
    compose_train: Callable[..., DictConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scans that the plan names are drawn in full, with the integers of the label table."""
    scans = RunConfig.parse(compose_train()).read_cohort().scans
    table = tmp_path / "who.csv"
    people = sorted({scan.subject for scan in scans})
    rows = [f"{name},{'all' if name == people[0] else 'cortex'}" for name in people]
    table.write_text("\n".join(["subject,annotation", *rows]) + "\n")
    drawn = ", ".join(f"{value}: {value}" for value in range(10))
    others = ", ".join(f"{value}: null" for value in range(1, 10) if value != 2)
    files = f"cohort.root={scans[0].images[0].parents[3]}", "cohort.image_desc=restore"
    made = ("cohort=bids", *files, "cohort.label_desc=drawem9", "split.fractions=[1,0,0]")
    protocols = (
        f"{{cortex: {{describes: true}}, all: {{describes: true, convention: {{{drawn}}}}}}}"
    )
    meaning = f"cohort.convention={{0: BG, 2: cGM, {others}}}"
    told = ("annotation=table", f"annotation.file={table}", f"+annotation.protocols={protocols}")
    run, output = untrained(*made, meaning, *told), tmp_path / "plan"
    asked = (f"run={run}", "device=cpu", "budget=60", f"output={output}", "slices.count=0")
    assert command("plan_annotation", *asked) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "draw with the integers of the label table" in said
    named = pd.read_csv(output / "annotation.tsv", sep="\t", dtype=str)["annotation"]
    assert {*named} == {"drawn_in_full", "cortex", "all"}
    GlobalHydra.instance().clear()
    planned = (f"hydra.searchpath=[file://{output}]", "annotation=planned")
    after = compose_train(*planned, *made, "cohort.convention=identity")
    source = RunConfig.parse(after).plan().sources[0]
    training = source.of_split("train")
    sets = {item.protocol: source.told(scan, item.protocol) for scan, item in training}
    cortex = source.cohort.convention.space.label_set("cGM")
    assert [leaves for leaves in sets["cortex"] if len(leaves) == 1] == [cortex]
    assert all(len(leaves) == 1 for leaves in sets["drawn_in_full"])


def test_a_pool_whose_scans_a_table_cannot_tell_apart(
    command: Callable[..., int],
    untrained: Callable[..., Path],
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Or which the run has already."""
    run, pool = untrained(), tmp_path / "pool"
    image = next(data_folder.rglob("*_desc-restore_T2w.nii.gz"))
    content = image.read_bytes()
    for name in ("sub-1_run-1_T2w", "sub-1_run-2_T2w", "sub-2_T2w"):
        write_bytes(pool / f"{name}.nii.gz", content)
    asked = (f"run={run}", "device=cpu", f"pool={pool}", "budget=200")
    assert command("plan_annotation", *asked, f"output={tmp_path / 'plan'}") == 0
    said = capsys.readouterr().out
    assert "sub-1_run-1_T2w.nii.gz and sub-1_run-2_T2w.nii.gz" in said
    plan, table = (
        pd.read_csv(tmp_path / "plan" / f"{name}.tsv", sep="\t") for name in ("plan", "annotation")
    )
    assert len(plan) == len(table) == table["subject"].nunique()
    assert not plan["scan"].str.contains("run-2").any()

    write_images(run, [member_of(Scan("7", None, (image,), *[None] * 4, "x"), "test")])
    row = "x,7,,test,full,full,everything\n"
    (run / "annotation.csv").write_text((run / "annotation.csv").read_text().splitlines()[0] + "\n")
    with (run / "annotation.csv").open("a") as plan:
        plan.write(row)
    assert command("plan_annotation", *asked, f"output={tmp_path / 'none'}") == 2
    said = "".join(capsys.readouterr())
    assert "2 scans are left out, since the runs have the same images for test" in said
    assert f"no scan in {pool} is left that could be planned" in said

    (run / "images.json").unlink()
    for site in "ab":  # nobody says that these are one person
        write_bytes(tmp_path / "sites" / site / "T2w.nii.gz", content)
    for session in (8, 9):  # of the person for testing
        write_bytes(tmp_path / "sites" / f"sub-07_ses-{session}_T2w.nii.gz", content)
    sites = [word for word in asked if not word.startswith("pool=")] + [f"pool={tmp_path}/sites"]
    assert command("plan_annotation", *sites, f"output={tmp_path / 'two'}") == 0
    said = "".join(capsys.readouterr())
    ids = "the runs have people of these ids for test (leaks=namesakes if they are others): sub-07"
    assert f"2 scans are left out, since {ids}" in said
    table = pd.read_csv(tmp_path / "two" / "annotation.tsv", sep="\t")
    assert set(table["subject"]) <= {"a_T2w", "b_T2w"}
    asked_again = (*sites, "leaks=namesakes", "overwrite=true", f"output={tmp_path / 'two'}")
    assert command("plan_annotation", *asked_again) == 0
    assert "left out" not in "".join(capsys.readouterr())
    write_bytes(pool / "site" / "sub-2_T2w.nii.gz", content)
    assert command("plan_annotation", *asked, f"output={tmp_path / 'none'}") == 2
    assert "1 pairs of scans" in "".join(capsys.readouterr())


def test_people_of_a_subjects_directory_have_the_ids_of_its_reader(
    command: Callable[..., int],
    untrained: Callable[..., Path],
    data_folder: Path,
    tmp_path: Path,
) -> None:
    run = untrained()
    image = nib.load(next(data_folder.rglob("*_desc-restore_T2w.nii.gz")))
    for name in ("sub-7_ses-2", "fsaverage"):
        (tmp_path / "pool" / name / "mri").mkdir(parents=True)
        voxels = np.asarray(image.dataobj, np.float32) + len(name)
        nib.save(nib.MGHImage(voxels, image.affine), tmp_path / "pool" / name / "mri" / "T2.mgz")
    asked = (f"pool={tmp_path / 'pool'}", "names={T2w: T2}", "budget=200", "device=cpu")
    assert command("plan_annotation", f"run={run}", *asked, f"output={tmp_path / 'plan'}") == 0
    table = pd.read_csv(tmp_path / "plan" / "annotation.tsv", sep="\t", dtype=str)
    ids = set(table[["subject", "session"]].fillna("").itertuples(index=False, name=None))
    assert ids == {("7", "2")}


@pytest.mark.slow
def test_scans_of_several_cohorts(
    command: Callable[..., int],
    untrained: Callable[..., Path],
    compose_train: Callable[..., DictConfig],
    data_folder: Path,
    tmp_path: Path,
) -> None:
    others = [
        f"extra_cohorts.{name}.cohort.phantom.{key}"
        for name in ("clinic", "archive")
        for key in ("subjects=3", "spacing=4.0")
    ]
    share = ("annotation.full_fraction=0.2", "patches.batch_size=3")
    made = ("+experiment=several_cohorts", *share, *others)
    run, output = untrained(*made), tmp_path / "plan"
    trained = ["python", "-m", "neoseg.train", *made]
    (run / "command.txt").write_text(shlex.join(trained))
    asked = (f"run={run}", "device=cpu")
    assert command("plan_annotation", *asked, f"output={output}", "budget=5000") == 0
    rows = pd.read_csv(output / "plan.tsv", sep="\t")
    names = rows["scan"].str.extract(r"^(?:(\w+)/)?(sub-.*)$").fillna("phantom")
    assert {*names[0]} == {"phantom", "clinic", "archive"}
    # The experiment chooses the annotation of the one, and sets that of the other key by key.
    page = (output / "plan.html").read_text()
    assert " +annotation@extra_cohorts.clinic.annotation=planned_clinic" in page
    assert " annotation@extra_cohorts.archive.annotation=planned_archive" in page
    GlobalHydra.instance().clear()
    after = compose_train(
        *made,
        f"hydra.searchpath=[file://{output}]",
        "annotation=planned",
        "annotation.full_fraction=null",
        "+annotation@extra_cohorts.clinic.annotation=planned_clinic",
        "annotation@extra_cohorts.archive.annotation=planned_archive",
    )
    then = {
        (source.cohort.name, scan.id): item.protocol
        for source in RunConfig.parse(after).plan().sources
        for scan, item in source.of_split("train")
    }
    for (cohort, scan), depth in zip(names.values, rows["annotation"], strict=True):
        assert then[cohort, scan] == depth
    assert command("calibrate", *asked, "part=test") == 0
    seen = {path.parent.name for path in run.glob("calibration/*/**/sub-*.json")}
    assert "clinic" in seen
