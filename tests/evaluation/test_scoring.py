"""Scoring scans from disk: what is written, what is known, and what probabilities add."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from neoseg.cohort import Cohort, Scan
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.scoring import ScoreSettings, hidden_classes
from neoseg.evaluation.table import read_scores
from neoseg.evaluation.view import read_view
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import WindowSettings
from neoseg.labels import Codebook, Convention, LabelSpace, Protocol
from neoseg.networks import make_head
from neoseg.store import PrepareSettings

SHAPE = (20, 18, 16)
RUN = Provenance("neoseg", "0", "test")


class Lookup(nn.Module):
    """Takes the grey value, which is a leaf position, for what the voxel is."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(space.class_leaves).float() * 8 - 4)

    def forward(self, image: Tensor) -> Tensor:
        leaves = (image[:, 0] * (len(self.table[0]) - 1)).round().long()
        return self.table[:, leaves].movedim(1, 0)


def labels(seed: int) -> np.ndarray:
    positions = np.zeros(SHAPE, np.uint8)
    positions[3:10, 4:14, 3:13] = 1
    positions[10:17, 4:14, 3:13] = 2
    positions[4:16, 6:10, 5 + seed : 9 + seed] = 3
    return positions


def make_scan(
    folder: Path, number: int, space: LabelSpace, guess: np.ndarray, shear: float = 0.0
) -> Scan:
    """The image is what the network will predict."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 0.8, 1.2, 1.0])
    affine[0, 1] = shear
    image, label = folder / f"sub-{number}_T2w.nii.gz", folder / f"sub-{number}_dseg.nii.gz"
    nib.save(nib.Nifti1Image(guess.astype(np.float32), affine), image)
    index = np.array([leaf.index for leaf in space.leaves])
    nib.save(nib.Nifti1Image(index[labels(number)].astype(np.uint8), affine), label)
    return Scan(str(number), None, (image,), label, None, 33.0 + 9 * number, None, "tiny")


def score(
    segmenter: Segmenter,
    scans: list[Scan],
    convention: Convention,
    output: Path,
    provenance: Provenance,
    settings: ScoreSettings | None = None,
    **options: Any,
) -> pd.DataFrame:
    cohort = Cohort("tiny", tuple(scans), convention, ("T2w",))
    parts, settings = [Scored(cohort, cohort.scans)], settings or ScoreSettings()
    return score_cohorts(segmenter, parts, output, provenance, settings, **options)


@pytest.fixture
def segmenter(space: LabelSpace) -> Segmenter:
    window = WindowSettings(patch_size=(8, 8, 8), overlap=0, accumulate="float32")
    prepare = PrepareSettings(normalise="minmax", crop_margin=None)
    head = make_head("multilabel", space)
    return Segmenter(Lookup(space), head, window, prepare, torch.device("cpu"))


@pytest.fixture
def scans(tmp_path: Path, space: LabelSpace) -> list[Scan]:
    wrong = labels(1)
    wrong[3:5] = 0
    guesses = (labels(0), wrong)
    return [make_scan(tmp_path / "in", n, space, guess) for n, guess in enumerate(guesses)]


def test_a_tolerance_that_does_not_suit_the_voxels_is_told_of_once(
    tmp_path, segmenter, scans, space, caplog
) -> None:
    for tolerance, told in ((1.1, 1), (1.2, 0), (6.0, 0), (7.2, "6 voxels apart")):
        caplog.clear()
        settings = ScoreSettings(nsd_tolerance=tolerance, views=False)
        convention = Convention.identity(space)
        score(segmenter, scans, convention, tmp_path, RUN, pictures=0, settings=settings)
        if isinstance(told, str):
            assert told in caplog.text
        else:
            assert caplog.text.count(f"nsd_tolerance is {tolerance} mm and the voxels") == told


def test_one_telling_of_the_tolerance_is_enough_for_several_cohorts(
    tmp_path, segmenter, scans, space, caplog
) -> None:
    meaning, settings = Convention.identity(space), ScoreSettings(nsd_tolerance=1.1, views=False)
    cohorts = [Cohort(name, tuple(scans), meaning, ("T2w",)) for name in ("a", "b")]
    parts = [Scored(cohort, cohort.scans) for cohort in cohorts]
    score_cohorts(segmenter, parts, tmp_path, RUN, settings=settings, pictures=0)
    assert caplog.text.count("scoring.nsd_tolerance is 1.1 mm and the voxels") == 1


def test_scores_views_and_segmentations(tmp_path, segmenter, scans, space) -> None:
    settings = ScoreSettings(calibration=True, nsd_tolerance=2.5)
    table = score(
        segmenter,
        scans,
        Convention.identity(space),
        tmp_path / "out",
        Provenance("neoseg", "0", "test"),
        hidden={"L"},
        pictures=1,
        settings=settings,
    )
    again = read_scores(tmp_path / "out" / "scores.csv")
    assert again["dice"].tolist() == table["dice"].tolist()
    perfect = table[table["subject"] == "0"].set_index("abbreviation")
    assert (perfect["dice"] == 1).all()
    assert (perfect["hd"] == 0).all()
    assert (perfect["nsd_tolerance"] == 2.5).all()
    # Probabilities are 1 / (1 + exp(∓4)) and right everywhere.
    assert perfect["ece"].to_numpy() == pytest.approx(1 / (1 + np.exp(4)), abs=1e-5)
    assert perfect.loc["L", "violation"] == 0
    assert np.isnan(perfect.loc["CSF", "violation"])
    assert perfect["hidden"].to_dict() == {"L": True, "R": False, "CSF": False, "LR": False}
    worse = table[table["subject"] == "1"].set_index("abbreviation")
    assert worse.loc["L", "dice"] < 1
    assert worse.loc["L", "volume_error"] < 0
    assert worse.loc["L", "ece"] > perfect.loc["L", "ece"]
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"scores.csv", "segmentations", "pictures", "views"}
    view = read_view(tmp_path / "out" / "views" / "sub-1.npz")
    assert view.scan == "sub-1"
    assert (view.wrong > 0).sum() > 0
    assert not read_view(tmp_path / "out" / "views" / "sub-0.npz").wrong.any()


def test_volumes_of_a_sheared_grid_and_its_distances(
    tmp_path, segmenter, space, caplog: pytest.LogCaptureFixture
) -> None:
    where = (Convention.identity(space), tmp_path / "out", RUN)
    for shear in (0.0, 0.4):
        scan = make_scan(tmp_path / str(shear), 0, space, labels(0), shear)
        caplog.clear()
        table = score(segmenter, [scan], *where)
        rows = table[table["is_leaf"]].set_index("abbreviation")
        counts = np.bincount(labels(0).ravel())[1:]
        np.testing.assert_allclose(sorted(rows["truth_ml"]), sorted(counts * 0.96e-3), rtol=1e-6)
        assert ("its axes are not at right angles" in caplog.text) == bool(shear)


def test_a_further_pass_leaves_nothing_of_the_one_before(tmp_path, segmenter, scans, space) -> None:
    convention, out = Convention.identity(space), tmp_path / "out"
    score(segmenter, scans, convention, out, RUN, pictures=1)
    first = read_view(out / "views" / "sub-0.npz")
    make_scan(tmp_path / "in", 0, space, labels(1))  # another image of the same scan
    score(segmenter, scans[:1], convention, out, RUN, pictures=0)
    (path,) = (out / "views").glob("*.npz")
    assert read_view(path).files != first.files != ""
    assert not list((out / "pictures").iterdir())


def test_a_pass_over_other_scans_leaves_no_segmentation_of_the_one_before(
    tmp_path, segmenter, scans, space
) -> None:
    convention, out = Convention.identity(space), tmp_path / "out"
    score(segmenter, scans, convention, out, RUN, pictures=0)
    other = Provenance("neoseg", "0", "other")
    score(segmenter, scans[1:], convention, out, other, pictures=0)
    assert len(list((out / "segmentations").rglob("*_desc-neoseg_dseg.nii.gz"))) == 1
    volumes = pd.read_csv(out / "segmentations" / "desc-neoseg_volumes.tsv", sep="\t")
    assert len(volumes) == 1
    description = (out / "segmentations" / "dataset_description.json").read_text()
    assert "run other" in description
    assert "run test" not in description


def test_an_interrupted_pass_goes_on(tmp_path, segmenter, scans, space) -> None:
    convention, out, whole = Convention.identity(space), tmp_path / "out", tmp_path / "whole"
    expected = score(segmenter, scans, convention, whole, RUN, pictures=0)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    for made_of in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            score(
                *(segmenter, scans, convention, out, RUN),
                pictures=0,
                progress=interrupt,
                made_of=made_of,
            )
        assert not (out / "scores.csv").exists()
    # That of other inputs was forgotten; the first scan is not segmented again.
    (kept,) = (out / ".scored").glob("*.csv")
    Path(str(scans[0].images[0])).unlink()
    table = score(segmenter, scans, convention, out, RUN, pictures=0, made_of="b")
    assert kept.name == "sub-0.csv"
    assert table["dice"].equals(expected["dice"])
    assert (out / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert not (out / ".scored").exists()


def test_views_and_calibration_are_optional(tmp_path, segmenter, scans, space) -> None:
    table = score(
        segmenter,
        scans[:1],
        Convention.identity(space),
        tmp_path / "out",
        Provenance("neoseg", "0", "test"),
        pictures=0,
        settings=ScoreSettings(views=False),
    )
    assert not (tmp_path / "out" / "views").exists()
    assert table["ece"].isna().all()


def test_a_foreign_convention_is_scored_on_what_it_knows(tmp_path, segmenter, scans, space) -> None:
    """L and R drawn as one, fluid not annotated where it lies inside them."""
    convention = Convention.from_mapping(space, {0: 0, 11: "LR", 12: "LR", 40: None})
    table = score(
        segmenter,
        scans[:1],
        convention,
        tmp_path / "out",
        Provenance("neoseg", "0", "test"),
        pictures=0,
    ).set_index("abbreviation")
    assert table.index.tolist() == ["LR"]
    fluid = (labels(0) == 3).mean()
    assert table.loc["LR", "known"] == pytest.approx(1 - fluid)
    assert table.loc["LR", "dice"] == 1
    assert np.isnan(table.loc["LR", "hd95"])


def test_what_was_not_drawn_is_not_invented(tmp_path, segmenter, scans, space) -> None:
    """The network finds fluid in the one scan whose file shows background in its place."""
    path = scans[0].label
    image = nib.load(path)
    drawn = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(np.where(drawn == 40, 0, drawn).astype(np.uint8), image.affine), path)
    undrawn = [replace(scans[0], not_drawn=space.label_set("CSF")), scans[1]]
    found = [
        score(
            segmenter, given, Convention.identity(space), tmp_path / name, RUN, pictures=0
        ).set_index(["subject", "abbreviation"])["dice"]
        for name, given in (("a", scans), ("b", undrawn))
    ]
    assert found[0]["0", "CSF"] == 0
    assert ("0", "CSF") not in found[1]
    assert found[1]["0", "L"] == 1
    assert found[0]["1", "CSF"] == found[1]["1", "CSF"]


def test_what_files_have_no_integer_for_is_not_scored(tmp_path, segmenter, scans, space) -> None:
    """Their table lacks fluid, so nothing says that the fluid which the network finds is none."""
    for scan in scans:
        image = nib.load(scan.label)
        drawn = np.asarray(image.dataobj)
        kept = np.where(drawn == 40, 0, drawn).astype(np.uint8)
        nib.save(nib.Nifti1Image(kept, image.affine), scan.label)
    whole = Convention.identity(space)
    pairs = zip(whole.values, whole.sets, strict=True)
    values, sets = zip(*(pair for pair in pairs if pair[0] != 40), strict=True)
    lacking = Convention(space, values, sets)
    for convention, fluid in ((whole, {0.0}), (lacking, set())):
        table = score(segmenter, scans, convention, tmp_path / "out", RUN, pictures=0)
        assert set(table.loc[table["abbreviation"] == "CSF", "dice"]) == fluid
        assert {"L", "R"} <= set(table["abbreviation"])


def test_hidden_classes_are_those_that_a_merged_set_leaves_open(space, codebook) -> None:
    assert hidden_classes(codebook) == ["L", "R"]
    assert hidden_classes(Codebook.build(space)) == []
    missing = Protocol.parse(space, {"name": "m", "merge": [["CSF", "BG"]]})
    assert hidden_classes(Codebook.build(space, missing.sets)) == ["BG", "CSF"]


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="nsd_tolerance"):
        ScoreSettings(nsd_tolerance=0)
    with pytest.raises(ValueError, match="colour"):
        ScoreSettings(colour=1)


def test_slices_that_nobody_drew_are_not_scored(
    tmp_path: Path, segmenter: Segmenter, scans: list[Scan], space: LabelSpace
) -> None:
    raw = {"name": "drawn", "slices": {"plane": "axial"}, "describes": True}
    path = scans[0].label
    assert path is not None
    image = nib.load(path)
    drawn = np.asarray(image.dataobj).copy()
    drawn[:, :, 6:] = 0
    nib.save(nib.Nifti1Image(drawn, image.affine), path)
    scan = replace(scans[0], annotation=Protocol.parse(space, raw))
    meaning = Convention.identity(space)
    table = score(segmenter, [scan], meaning, tmp_path / "out", RUN, pictures=0)
    parts = table[table["abbreviation"].isin(["L", "R"])]
    assert parts["dice"].tolist() == [1.0, 1.0]
    assert (parts["known"] < 0.2).all()
    table = score(segmenter, [scans[0]], meaning, tmp_path / "out2", RUN, pictures=0)
    assert (table[table["abbreviation"].isin(["L", "R"])]["dice"] < 0.6).all()
