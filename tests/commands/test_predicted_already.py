"""What `neoseg.predict` finds in its output folder: kept, renewed or refused by content."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from predicting import one_scan, predict

from neoseg.inference.segmenter import Segmenter


def test_what_is_beside_a_segmentation_belongs_to_it(
    make_run, tree, tmp_path, monkeypatch, capsys
) -> None:
    """Other settings: maps and picture of the earlier ones neither stay nor are taken for new."""
    run, out = make_run("A"), tmp_path / "out"
    arguments = (f"run={run}", f"input={one_scan(tree)}", f"output={out}")
    predict(monkeypatch, *arguments, "probseg=[cGM,WM]")
    (target,) = out.rglob("*_desc-neoseg_dseg.nii.gz")
    maps = {path.name: path.read_bytes() for path in out.rglob("*_probseg.nii.gz")}
    predict(monkeypatch, *arguments, "probseg=TCV", "picture=false")
    assert len(list(out.rglob("*_probseg.nii.gz"))) == 3  # all of the same network and settings
    assert list(out.rglob("*.png"))

    other = (*arguments, "window.mirror=true", "picture=false")
    predict(monkeypatch, *other)
    assert not list(out.rglob("*_probseg.nii.gz"))
    assert not list(out.rglob("*.png"))
    predict(monkeypatch, *other, "probseg=[cGM,WM]")
    again = {path.name: path.read_bytes() for path in out.rglob("*_probseg.nii.gz")}
    assert again.keys() == maps.keys()
    assert all(again[name] != maps[name] for name in maps)

    shutil.copy(target, target.with_name("drawn.nii.gz"))
    edited = nib.load(target)
    nib.save(nib.Nifti1Image(np.zeros(edited.shape, np.uint8), edited.affine), target)
    predict(monkeypatch, *other, "probseg=TCV")
    assert not np.asarray(nib.load(target).dataobj).any()  # an edited map is not made again
    assert "nothing is written beside them" in " ".join(capsys.readouterr().out.split())


def test_lost_tables_are_written_again(make_run, tree, tmp_path, monkeypatch, capsys) -> None:
    run, out = make_run("A"), tmp_path / "out"
    arguments = (f"run={run}", f"input={tree}", f"output={out}", "picture=false")
    predict(monkeypatch, *arguments)
    volumes, names = out / "desc-neoseg_volumes.tsv", out / "desc-neoseg_dseg.tsv"
    whole, labels = volumes.read_text(), names.read_text()
    volumes.write_text("".join(line for line in whole.splitlines(True)[:-1]))
    names.unlink()
    predict(monkeypatch, *arguments)
    assert (volumes.read_text(), names.read_text()) == (whole, labels)
    assert "counted again, since their table lacked it" in " ".join(capsys.readouterr().out.split())
    volumes.unlink()
    predict(monkeypatch, *arguments)
    assert volumes.read_text() == whole


def test_another_process_writes_the_same_scan(make_run, tree, tmp_path, monkeypatch) -> None:
    runs = [make_run("A"), make_run("B", seed=1)]
    source, out = one_scan(tree), tmp_path / "out"
    segment = Segmenter.segment

    def slow(self, *arguments, **options):
        """While A segments, B does it all."""
        with monkeypatch.context() as patch:
            patch.setattr(Segmenter, "segment", segment)
            predict(patch, f"run={runs[1]}", f"input={source}", f"output={out}")
        return segment(self, *arguments, **options)

    monkeypatch.setattr(Segmenter, "segment", slow)
    predict(monkeypatch, f"run={runs[0]}", f"input={source}", f"output={out}", status=1)
    (target,) = out.rglob("*_desc-neoseg_dseg.json")
    assert json.loads(target.read_text())["run"] == "B"


def test_another_process_segments_otherwise(make_run, tree, tmp_path, monkeypatch) -> None:
    run, source, out = make_run("A"), one_scan(tree), tmp_path / "out"
    segment, asked = Segmenter.segment, (f"run={run}", f"input={source}", f"output={out}")
    made: list[bytes] = []

    def slow(self, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(Segmenter, "segment", segment)
            predict(patch, *asked, "window.mirror=true")
        made.append(next(out.rglob("*_dseg.json")).read_bytes())
        return segment(self, *arguments, **options)

    for overwrite in ("false", "true"):
        with monkeypatch.context() as patch:
            patch.setattr(Segmenter, "segment", slow)
            predict(patch, *asked, f"overwrite={overwrite}", status=1)
        assert next(out.rglob("*_dseg.json")).read_bytes() == made[-1]
        predict(monkeypatch, *asked)
        assert next(out.rglob("*_dseg.json")).read_bytes() != made[-1]


def test_a_run_of_the_same_name_elsewhere_is_another(make_run, tree, tmp_path, monkeypatch) -> None:
    asked = (f"input={one_scan(tree)}", f"output={tmp_path / 'out'}", "picture=false")
    first, other = make_run("first/job"), make_run("other/job", seed=1)
    predict(monkeypatch, f"run={first}", *asked)
    predict(monkeypatch, f"run={other}", *asked, status=2)
    predict(monkeypatch, f"run={other}", *asked, "overwrite=true")


def test_overwrite(make_run, tree, tmp_path, monkeypatch) -> None:
    run, source = make_run("A"), one_scan(tree)
    arguments = (f"run={run}", f"input={source}", f"output={tmp_path / 'out'}", "picture=false")
    predict(monkeypatch, *arguments)
    (target,) = (tmp_path / "out").rglob("*_dseg.nii.gz")
    before = target.stat().st_mtime_ns
    predict(monkeypatch, *arguments)
    assert target.stat().st_mtime_ns == before
    predict(monkeypatch, *arguments, "overwrite=true")
    assert target.stat().st_mtime_ns > before


def test_the_label_map_comes_last(make_run, tree, tmp_path, monkeypatch) -> None:
    import neoseg.commands.prediction_job as command

    run, out = make_run("A"), tmp_path / "out"
    arguments = [f"run={run}", f"input={one_scan(tree)}", f"output={out}", "probseg=[WM]"]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(command, "write_derivative", killed)
        predict(context, *arguments, status=130)
    # All that belongs to a scan is there before what says that it is done.
    assert len(list(out.rglob("*.png"))) == len(list(out.rglob("*_probseg.nii.gz"))) == 1
    assert not list(out.rglob("*_dseg.nii.gz"))
    predict(monkeypatch, *arguments)
    assert len(list(out.rglob("*_dseg.nii.gz"))) == 1


def test_segmentations_of_another_run_are_not_taken_for_its_own(
    make_run, tree, tmp_path, monkeypatch, capsys
) -> None:
    first, second, out = make_run("A"), make_run("B", seed=1), tmp_path / "out"
    arguments = [f"input={one_scan(tree)}", f"output={out}", "picture=false"]
    predict(monkeypatch, f"run={first}", *arguments)
    (target,) = out.rglob("*_dseg.nii.gz")
    before = target.read_bytes()
    capsys.readouterr()
    predict(monkeypatch, f"run={second}", *arguments, status=2)
    assert "of other runs: Segmented by the network of run A" in capsys.readouterr().out
    assert target.read_bytes() == before
    predict(monkeypatch, f"run={second}", *arguments, "overwrite=true")
    assert target.read_bytes() != before
    capsys.readouterr()
    predict(monkeypatch, f"run={second}", *arguments)  # may be of either now
    assert "of other runs: Segmented by the network of run A" in capsys.readouterr().out


def test_what_is_there_is_compared_by_content(
    make_run, tree, tmp_path, monkeypatch, capsys
) -> None:
    run, out, source = make_run("A"), tmp_path / "out", tmp_path / "a_T2w.nii.gz"
    source.write_bytes(one_scan(tree).read_bytes())
    arguments = [f"run={run}", f"input={source}", f"output={out}", "picture=false"]

    def made(*more: str, says: str) -> bool:
        """Whether the segmentation was written anew."""
        before = [path.stat().st_mtime_ns for path in out.rglob("*_dseg.nii.gz")]
        capsys.readouterr()
        predict(monkeypatch, *arguments, *more)
        assert says in capsys.readouterr().out
        return before != [path.stat().st_mtime_ns for path in out.rglob("*_dseg.nii.gz")]

    assert made(says="")
    assert not made(says="1 of 1 scans are segmented already")
    assert made("window.overlap=0.25", says="1 scans are segmented again")
    (target,) = out.rglob("*_dseg.nii.gz")
    drawn = nib.load(target)
    nib.save(nib.Nifti1Image(np.zeros(drawn.shape, np.uint8), drawn.affine), target)
    assert not made(says="1 segmentations are kept although their origin is unknown")


def test_what_somebody_has_corrected_is_kept_and_counted(
    make_run, tree, tmp_path, monkeypatch, capsys
) -> None:
    run, scan = make_run("A"), one_scan(tree)
    (tmp_path / "scans").mkdir()
    shutil.copy(scan, tmp_path / "scans" / "me_T2w.nii.gz")
    where = tmp_path / "out"
    asked = (f"run={run}", f"input={tmp_path / 'scans'}", f"output={where}", "picture=false")
    predict(monkeypatch, *asked)
    table, drawn = where / "desc-neoseg_volumes.tsv", where / "me_T2w_desc-neoseg_dseg.nii.gz"
    before, original = nib.load(drawn), drawn.read_bytes()
    labels = np.asarray(before.dataobj).copy()
    labels[:2] = 3  # white matter, by hand
    nib.save(nib.Nifti1Image(labels, before.affine), drawn)
    for told in (1, 0):
        capsys.readouterr()
        predict(monkeypatch, *asked)
        said = capsys.readouterr().out
        assert said.count("were counted again, since it was edited") == told
        assert (np.asarray(nib.load(drawn).dataobj) == labels).all()
        row = pd.read_csv(table, sep="\t").iloc[0]
        voxel = abs(np.linalg.det(before.affine[:3, :3])) / 1000
        assert row["WM"] == pytest.approx((labels == 3).sum() * voxel, rel=1e-5)
    drawn.write_bytes(original)  # as it was again
    predict(monkeypatch, *asked)
    assert pd.read_csv(table, sep="\t").iloc[0]["WM"] != pytest.approx(row["WM"])
    labels[:2] = 200
    nib.save(nib.Nifti1Image(labels, before.affine), drawn)
    predict(monkeypatch, *asked)
    said = capsys.readouterr()
    assert "are not those of the file: " in said.out + said.err
