"""`neoseg.predict` with runs of untrained networks: what it writes, skips, refuses and reports."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from predicting import one_scan, predict

from neoseg.cohort import CohortError
from neoseg.commands.predict import PredictConfig
from neoseg.runs.loading import load_predictor


def test_a_dhcp_tree(make_run, tree, tmp_path, monkeypatch) -> None:
    run, out = make_run("A", "cohort.modalities=[T2w,T1w]"), tmp_path / "out"
    more = ("picture=false", "tables=[freesurfer,slicer]")
    predict(monkeypatch, f"run={run}", f"input={tree}", f"output={out}", *more)
    named = pd.read_csv(out / "desc-neoseg_dseg.tsv", sep="\t")
    rows = (out / "desc-neoseg_freesurfer.txt").read_text().splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == sorted(named["index"])
    assert "Color table file" in (out / "desc-neoseg_slicer.ctbl").read_text()
    sources = sorted(tree.rglob("*_desc-restore_T2w.nii.gz"))
    targets = sorted(out.rglob("*_dseg.nii.gz"))
    assert len(targets) == len(sources) > 3
    assert len(list(tree.rglob("*_desc-restore_T1w.nii.gz"))) < len(sources)
    for source, target in zip(sources, targets, strict=True):
        assert source.parent.relative_to(source.parents[3]) == target.parent.relative_to(out)
        old, new = nib.load(source), nib.load(target)
        assert new.shape == old.shape
        np.testing.assert_array_equal(new.affine, old.affine)
        assert new.header["xyzt_units"] == old.header["xyzt_units"]
    volumes = pd.read_csv(out / "desc-neoseg_volumes.tsv", sep="\t")
    assert len(volumes) == len(sources)
    assert {"cGM", "TCV"} <= set(volumes.columns)
    assert not (out / "pictures").exists()


def test_several_runs_and_probabilities(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    runs = [
        make_run("A"),
        make_run("B", "head=softmax", "loss=[marginal_ce]", "store.crop_margin=null", seed=1),
        make_run("C", "network=unet2d", "patches.size=[1,32,32]", seed=2),
    ]
    source, out = one_scan(tree), tmp_path / "out"
    arguments = (f"run=[{','.join(map(str, runs))}]", f"input={source}", f"output={out}")
    predict(monkeypatch, *arguments, "probseg=[cGM,TCV]")
    (target,) = out.rglob("*_dseg.nii.gz")
    made_by = json.loads((out / "dataset_description.json").read_text())["GeneratedBy"][0]
    assert "A + B + C" in made_by["Description"]
    assert (out / "pictures" / f"{target.name.split('.nii')[0]}.png").is_file()
    files = {p.name.split("_label-")[1].split("_")[0]: p for p in out.rglob("*_probseg.nii.gz")}
    assert set(files) == {"cGM", "TCV"}
    values = {name: np.asarray(nib.load(path).dataobj) for name, path in files.items()}
    image = nib.load(source)
    assert all(v.shape == image.shape for v in values.values())
    assert all(0 <= v.min() < v.max() <= 1 for v in values.values())

    alone = tmp_path / "alone"
    predict(monkeypatch, f"run={runs[0]}", f"input={source}", f"output={alone}", "picture=false")
    (other,) = alone.rglob("*_dseg.nii.gz")
    assert not np.array_equal(nib.load(other).dataobj, nib.load(target).dataobj)

    # Another class: segmented again, since its file is not there. The same: skipped.
    written = target.stat().st_mtime_ns
    predict(monkeypatch, *arguments, "probseg=cGM", "picture=false")
    assert target.stat().st_mtime_ns == written
    assert "1 of 1 scans are segmented already" in capsys.readouterr().out
    predict(monkeypatch, *arguments, "probseg=[WM]", "picture=false")
    assert target.stat().st_mtime_ns > written
    assert any("label-WM" in p.name for p in out.rglob("*_probseg.nii.gz"))


def test_names_that_cannot_be_written_cost_no_other_scan(
    make_run, tree, tmp_path, monkeypatch, capsys
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    odd = os.fsdecode(b"sub-\xff_T2w.nii.gz")
    for name in ("sub-1_T2w.nii.gz", odd, f"sub-{'x' * 232}_T2w.nii.gz"):
        shutil.copy(one_scan(tree), folder / name)
    arguments = (f"run={make_run('A')}", f"input={folder}", f"output={out}", "picture=false")
    predict(monkeypatch, *arguments, status=1)
    seen = capsys.readouterr()
    text = seen.out + seen.err
    assert "2 scans failed" in text
    assert "its name is not UTF-8" in text
    assert "has too long a name" in text
    assert [path.name for path in out.rglob("*_dseg.nii.gz")] == ["sub-1_desc-neoseg_dseg.nii.gz"]


def test_it_goes_on_after_any_failure(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    source, inputs = one_scan(tree).read_bytes(), tmp_path / "in"
    inputs.mkdir()
    for name, content in (("a", source[:2000]), ("b", source), ("c", b""), ("d", source)):
        (inputs / f"{name}_T2w.nii.gz").write_bytes(content)
    run = make_run("A")
    import neoseg.commands.prediction_job as command

    build = command.write_derivative

    def strange(output, path, *rest, **options):
        if path.name.startswith("b"):
            raise ZeroDivisionError("a bug")
        return build(output, path, *rest, **options)

    monkeypatch.setattr(command, "write_derivative", strange)
    out = tmp_path / "out"
    predict(monkeypatch, f"run={run}", f"input={inputs}", f"output={out}", status=1)
    text = capsys.readouterr().out
    assert [p.name for p in out.rglob("*_dseg.nii.gz")] == ["d_T2w_desc-neoseg_dseg.nii.gz"]
    assert "1 scans segmented" in text
    assert "3 scans failed" in text
    assert "a_T2w.nii.gz" in text
    assert "b_T2w.nii.gz: ZeroDivisionError: a bug" in text
    assert "c_T2w.nii.gz" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("cohort", "taken"),
    [
        ({"restore": True}, "_desc-restore_T2w"),
        ({"restore": False}, "_T2w"),
        ({"image_desc": "brain"}, "_desc-brain_T2w"),
        ({}, "_desc-restore_T2w"),
        ({"image_entities": {"space": "MNI"}}, "_space-MNI_T2w"),
    ],
)
def test_the_image_that_the_run_was_trained_on(
    make_run, tree, tmp_path, monkeypatch, cohort, taken
) -> None:
    run, content = make_run("A"), one_scan(tree).read_bytes()
    (run / "config.yaml").write_text(json.dumps({"cohort": cohort}))
    folder = tmp_path / "in" / "sub-1" / "anat"
    folder.mkdir(parents=True)
    for name in ("_T2w", "_desc-restore_T2w", "_desc-brain_T2w", "_space-MNI_T2w"):
        # Only the one that is to be taken can be read.
        (folder / f"sub-1{name}.nii.gz").write_bytes(content if name == taken else b"")
    out = tmp_path / "out"
    predict(monkeypatch, f"run={run}", f"input={tmp_path / 'in'}", f"output={out}", "picture=false")
    assert len(list(out.rglob("*_dseg.nii.gz"))) == 1


@pytest.mark.parametrize("choice", ["student", "teacher", None])
def test_student_or_teacher(make_run, tree, tmp_path, monkeypatch, choice) -> None:
    run, source = make_run("A", "teacher.always=true"), one_scan(tree)
    arguments = [f"run={run}", f"input={source}", "picture=false"]
    chosen = [] if choice is None else [f"predict_with={choice}"]
    predict(monkeypatch, *arguments, *chosen, f"output={tmp_path / 'out'}")
    predict(monkeypatch, *arguments, "predict_with=teacher", f"output={tmp_path / 'teacher'}")
    labels = [
        np.asarray(nib.load(next((tmp_path / name).rglob("*_dseg.nii.gz"))).dataobj)
        for name in ("out", "teacher")
    ]
    assert np.array_equal(*labels) == (choice != "student")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["window.overlap=1.5"], "window.overlap"),
        (["window.patch_size=[40,32,32]"], "takes multiples of"),
        (["window.patch_size=[1,32,32]"], "takes multiples of"),
        (["window.patch_size=24"], "write 'window.patch_size=[24,24,24]'"),
        (["predict_with=teacher"], "predict_with is 'teacher', but this run has none"),
        (["probseg=[cMG]"], "did you mean 'cgm'"),
        (["input=nowhere"], "nowhere does not exist"),
        (["desc=other"], "desc other"),
        (["run=[]"], "run is an empty list"),
        (["run=nowhere"], "nowhere has no checkpoints"),
    ],
)
def test_what_cannot_work_ends_with_one_message(
    make_run, tree, tmp_path, monkeypatch, capsys, arguments, message
) -> None:
    run = make_run("A")
    settings = {"run": run, "input": tree, "output": tmp_path / "out"}
    changed = {a.split("=")[0] for a in arguments}
    kept = [f"{key}={value}" for key, value in settings.items() if key not in changed]
    predict(monkeypatch, *kept, *arguments, status=2)
    text = capsys.readouterr().out
    assert message in text
    assert "Traceback" not in text
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_runs_that_do_not_fit_together(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    first = make_run("A")
    other = make_run("B", "labels=drawem87", "cohort.labels=drawem87")
    more = make_run("C", "cohort.modalities=[T2w,T1w]")
    flat = make_run("D", "network=unet2d", "patches.size=[1,32,32]")
    rest = (f"input={tree}", f"output={tmp_path / 'out'}")
    for runs, message in (
        ((first, other), "one label table"),
        ((first, more), "must read the same images"),
        ((first, first), "names a folder twice"),
    ):
        predict(monkeypatch, f"run=[{runs[0]},{runs[1]}]", *rest, status=2)
        assert message in capsys.readouterr().out
    predict(monkeypatch, f"run={flat}", "window.mirror=true", *rest, status=2)
    assert "sagittal slice" in capsys.readouterr().out


def test_only_the_networks_that_predict_are_kept(make_run) -> None:
    runs = [make_run(name, "teacher.always=true", seed=n) for n, name in enumerate("AB")]
    ensemble, modalities = load_predictor(runs, "cpu", "student", overlap=0.25)
    assert modalities == ("T2w",)
    assert list(ensemble.members) == [str(run) for run in runs]
    for member in ensemble.members.values():
        assert member.window.overlap == 0.25
        assert not hasattr(member.network, "average")


def test_scans_that_lack_a_modality(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    both = "cohort.modalities=[T2w,T1w]"
    with pytest.raises(CohortError, match="scans have no T1w"):
        make_run("R", both, "missing_modality.policy=require")
    runs = {
        policy: make_run(policy, both, f"missing_modality.policy={policy}")
        for policy in ("drop", "dropout")
    }
    whole = len(list(tree.rglob("*_desc-restore_T1w.nii.gz")))
    sessions = len(list(tree.rglob("*_desc-restore_T2w.nii.gz")))
    assert 0 < whole < sessions
    for policy, expected in (("drop", whole), ("dropout", sessions)):
        out = tmp_path / policy
        predict(
            monkeypatch, f"run={runs[policy]}", f"input={tree}", f"output={out}", "picture=false"
        )
        assert len(list(out.rglob("*_dseg.nii.gz"))) == expected
    assert "since the training left out such scans too" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("device=gpu", "device is gpu, and this machine has no such device"),
        ("device=cuda:77", "device is cuda:77, and this machine has no such device"),
        ("input=[a.nii.gz,b.nii.gz]", "input is a list; name one file, or a folder"),
    ],
)
def test_what_cannot_be_meant_is_told(
    make_run, tree, tmp_path, monkeypatch, capsys, argument: str, words: str
) -> None:
    arguments = [f"run={make_run('A')}", f"input={one_scan(tree)}", f"output={tmp_path / 'out'}"]
    predict(monkeypatch, *arguments, argument, status=2)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("names", [{0: "a", 1: "b"}, {"T1w": 1}])
def test_numbers_may_be_names(names: dict[str | int, str | int]) -> None:
    command = PredictConfig.parse({"run": "r", "input": "i", "output": "o", "names": names})
    assert command.names == {str(key): str(value) for key, value in names.items()}


def test_a_run_that_has_not_ended_is_named(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    run = make_run("A")
    (run / "config.yaml").write_text("cohort: {}\n")
    arguments = [f"run={run}", f"input={one_scan(tree)}", f"output={tmp_path / 'out'}"]
    predict(monkeypatch, *arguments)
    assert f"{run} has not ended: its network is that of" in capsys.readouterr().out
    (run / "run.json").write_text("{}")
    predict(monkeypatch, *arguments, "overwrite=true")
    assert "has not ended" not in capsys.readouterr().out


def test_a_full_disk_ends_it_at_once(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    import neoseg.commands.prediction_job as command

    tried = []

    def full(output: Path, source: Path, *_: object, **__: object) -> None:
        tried.append(source)
        raise OSError(28, "No space left on device", str(output / "x.nii.gz"))

    monkeypatch.setattr(command, "write_derivative", full)
    arguments = [f"run={make_run('A')}", f"input={tree}", f"output={tmp_path / 'out'}"]
    predict(monkeypatch, *arguments, "picture=false", status=1)
    text = capsys.readouterr().out
    assert len(tried) == 1
    assert "x.nii.gz cannot be written: No space left on device. Make room" in text
    assert "Traceback" not in text
