"""Growth curves where the truth is known: by formula, and the phantom's."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from scipy.stats import kstest

import neoseg.growth
from neoseg.cohort.phantom.growth import tissue_volume
from neoseg.cohort.phantom.scan import generate_scan
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.subject import draw_subject
from neoseg.digests import digest_of
from neoseg.trust.growth import FEWEST, Curve


def usual(age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the logarithm: growth that slows down, spread that falls."""
    return 6 - 8 * np.exp(-age / 12), np.exp(-2 - 0.04 * (age - 35))


def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    ages = rng.uniform(28, 44, n)
    mean, width = usual(ages)
    return ages, np.exp(rng.normal(mean, width))


def test_centiles_are_those_that_the_scans_were_drawn_from() -> None:
    curve = Curve.fit(*draw(np.random.default_rng(0), 3000))
    ages = np.linspace(29, 43, 15)
    mean, width = usual(ages)
    for percent, z in ((3, -1.881), (50, 0.0), (97, 1.881)):
        np.testing.assert_allclose(
            curve.centile(ages, percent), np.exp(mean + z * width), rtol=0.03
        )


def test_deviations_of_new_scans_are_standard_normal() -> None:
    """Of 40 scans a curve is rough: over many cohorts the deviations are little too wide."""
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        curve = Curve.fit(*draw(rng, 40))
        found += [curve.z(*pair) for pair in zip(*draw(rng, 20), strict=True)]
    known = np.array(found)[np.isfinite(found)]
    assert abs(known.mean()) < 0.1
    assert 0.95 < known.std() < 1.2
    many = Curve.fit(*draw(rng, 2000))
    deviations = [many.z(*pair) for pair in zip(*draw(rng, 500), strict=True)]
    assert kstest([z for z in deviations if z == z], "norm").pvalue > 0.01


def test_nothing_is_said_beyond_what_was_learnt() -> None:
    curve = Curve.fit(*draw(np.random.default_rng(2), 50))
    assert np.isnan([curve.z(27, 100), curve.z(45, 100), curve.z(35, 0)]).all()
    assert Curve.from_plain(curve.plain()) == curve
    with pytest.raises(ValueError, match=f"a curve needs {FEWEST}"):
        Curve.fit([30.0] * 19, [1.0] * 19)
    with pytest.raises(ValueError, match="30 scans have 1 different ages from 30 to 30 weeks"):
        Curve.fit([30.0] * 30, [1.0] * 30)
    with pytest.raises(ValueError, match=r"2 different ages from 38 to 40 weeks, .* needs 5"):
        Curve.fit([38.0] * 15 + [40.0] * 15, [1.0] * 30)


def brain(number: int, age: float) -> float:
    """The ml of the phantom's tissue in a newborn of its own, from labels at coarse voxels."""
    settings = PhantomSettings(spacing=5.0, motion=0.0)
    subject = draw_subject(settings, number)
    session = replace(subject.sessions[0], visit=0, scan_age=age)
    scan = generate_scan(settings, subject, session)
    voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    return float(np.isin(scan.labels9, (2, 3, 5, 6, 7, 8, 9)).sum() * voxel)


def test_the_phantom_grows_as_it_was_made() -> None:
    """It has a mean volume for each age, which voxels and folds change by some percent."""
    ages = np.linspace(29, 45, 20).tolist()
    curve = Curve.fit(ages, [brain(number, age) for number, age in enumerate(ages)])
    for age in (31.0, 37.0, 43.0):
        assert curve.centile(age, 50)[0] == pytest.approx(tissue_volume(age), rel=0.1)


def test_the_command_learns_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ages, volumes = draw(np.random.default_rng(3), 40)
    rows = [f"sub-{n:02}/f.nii.gz\tsub-{n:02}\tn/a\t{v:.6g}" for n, v in enumerate(volumes)]
    head = "file\tparticipant_id\tsession_id\tWM\n"
    files = [tmp_path / row.split("\t")[0] for row in rows]
    (tmp_path / "label").write_bytes(b"labels")
    made = f'{{"weights": ["%s"], "settings": "%s", "labels": "{digest_of(tmp_path / "label")}"}}'
    for file in files:
        file.parent.mkdir()
        file.write_bytes(b"labels")
        file.with_name("f.json").write_text(made % ("a", "plain"))
    rows.append("sub-99/gone.nii.gz\tsub-99\tn/a\t1e6")
    (tmp_path / "desc-neoseg_volumes.tsv").write_text(head + "\n".join(rows) + "\n")
    people = [f"sub-{n:02}\t{age:.3f}" for n, age in enumerate(ages)]
    people[0] = "sub-00\tn/a"
    (tmp_path / "participants.tsv").write_text("participant_id\tscan_age\n" + "\n".join(people))
    curves = tmp_path / "growth.json"
    for argument in (f"output={curves}", f"curves={curves}"):
        GlobalHydra.instance().clear()
        words = ["growth", f"volumes={tmp_path}", f"ages={tmp_path}", argument]
        monkeypatch.setattr(sys, "argv", words)
        neoseg.growth.main()
    said = capsys.readouterr().out
    assert "deviations of 39 scans" in said
    assert "1 rows are left out, as their files are gone: sub-99/gone.nii.gz" in said
    assert "1 scans have none" in said
    assert "another network" not in said
    table = (tmp_path / "desc-neoseg_growth.tsv").read_text().splitlines()
    assert table[0].split("\t")[-2:] == ["scan_age", "WM_z"]
    assert table[1].endswith("n/a\tn/a")
    told = [float(line.split("\t")[-1]) for line in table[2:]]
    assert abs(np.mean(told)) < 0.1
    assert 0.8 < np.std(told) < 1.2
    assert curves.with_suffix(".png").is_file()
    assert (tmp_path / "pictures" / "growth.png").is_file()
    for other in (("b", "plain"), ("a", "mirrored")):
        files[3].with_name("f.json").write_text(made % other)
        GlobalHydra.instance().clear()
        neoseg.growth.main()
        said = capsys.readouterr().out
        assert "come from 2 different networks or settings" in said
        assert "were learnt from the segmentations of another network, or with other" in said
    (files[2].parent / "f.json").write_text('{"labels": "those of before"}')
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        neoseg.growth.main()
    said = capsys.readouterr()
    assert "1 label files" in said.out + said.err
    assert "sub-02/f.nii.gz; run neoseg.predict as before" in said.out + said.err


def test_cells_that_are_no_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ages, volumes = draw(np.random.default_rng(4), 30)
    cells = [f"{volume:.6g}" for volume in volumes]

    def learn(*changes: str, output: str = "g.json", session: str = "ses-1") -> str:
        cells[: len(changes)] = changes
        rows = [
            f"sub-{n // 2:02}.nii\tsub-{n // 2:02}\t{session}\t{v}" for n, v in enumerate(cells)
        ]
        rows = [row.replace("ses-1", f"ses-{n % 2}") for n, row in enumerate(rows)]
        head = "file\tparticipant_id\tsession_id\tWM\n"
        (tmp_path / "desc-neoseg_volumes.tsv").write_text(head + "\n".join(rows) + "\n")
        words = ["growth", f"volumes={tmp_path}", f"ages={tmp_path}", f"output={tmp_path / output}"]
        monkeypatch.setattr(sys, "argv", words)
        GlobalHydra.instance().clear()
        with suppress(SystemExit):
            neoseg.growth.main()
        return "".join(capsys.readouterr())

    people = [f"sub-{n:02}\tses-{s}\t{ages[2 * n + s]:.3f}" for n in range(15) for s in (0, 1)]
    people += [f"sub-{n:02}\tses-x\t{ages[n]:.3f}" for n in range(15)]
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tsession_id\tscan_age\n" + "\n".join(people)
    )
    said = learn("abc", "inf", "-3")
    assert "3 cells that are no volumes in ml: WM of sub-00.nii is 'abc'" in said
    assert not (tmp_path / "g.json").exists()
    said = learn("n/a", "", "NaN")
    assert "30 scans are of 15 people" in said
    assert "scans that have any" not in said
    assert "the curve of WM is of the 28 scans that have any" in learn("0", "0.0", cells[3])
    learn("n/a", "", "NaN")
    assert json.loads((tmp_path / "g.json").read_text())["WM"]["scans"] == 27
    assert "15 sessions have several segmentations" in learn("n/a", session="ses-x")
    assert "expected a file that ends in .json" in learn("n/a", output="g.png")
    (tmp_path / "participants.json").write_text("{}")
    assert "holds no curves" in learn("n/a", output="participants.json")
    assert (tmp_path / "participants.json").read_text() == "{}"
    (tmp_path / "mine.png").write_text("mine")
    assert "mine.png is there already" in learn("n/a", output="mine.json")
    assert (tmp_path / "mine.png").read_text() == "mine"


def test_segmentations_of_nobody_have_no_ages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "file\tparticipant_id\tsession_id\tWM\na.nii.gz\tn/a\tn/a\t1\n"
    (tmp_path / "desc-neoseg_volumes.tsv").write_text(rows)
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "participants.tsv").write_text("participant_id\tscan_age\na\t40\n")
    words = ["growth", f"volumes={tmp_path}", f"ages={tmp_path}", f"output={tmp_path}/g.json"]
    monkeypatch.setattr(sys, "argv", words)
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        neoseg.growth.main()
    said = capsys.readouterr()
    assert "none of 1 segmentations belongs to a participant" in said.out + said.err
