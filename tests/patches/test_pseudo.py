from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cohort import annotate_cohort, make_data, scramble, small_space, write_cohort

from neoseg.labels import UNKNOWN, Codebook, Protocol
from neoseg.patches.dataset import PatchSettings
from neoseg.patches.pseudo import (
    PseudoLabels,
    is_written,
    needs_prediction,
    restrict,
    with_pseudo_labels,
    write_pseudo_labels,
)
from neoseg.store import DataError

SPACE = small_space()
CODEBOOK = Codebook.build(SPACE, Protocol.parse(SPACE, {"name": "p", "merge": ["TCV"]}).sets)
BG, CSF, GM_L, GM_R, WM = range(5)
TCV = CODEBOOK.code(frozenset({GM_L, GM_R, WM}))

INVENTED = {1: CSF + 1, 2: WM + 1}
"""Codes that the annotations do not hold everywhere, by number of the scan."""


def one_voxel(
    scores: list[float], code: int, decision: int = BG, least: float = 0.0
) -> tuple[int, float, int]:
    """Return leaf, confidence and new code of a single voxel."""
    evidence = torch.tensor(scores).view(-1, 1, 1, 1)
    codes = torch.full((1, 1, 1), code, dtype=torch.uint8)
    found = restrict(evidence, torch.full((1, 1, 1), decision), codes, CODEBOOK, least)
    assert found.leaves.dtype == found.confidence.dtype == found.codes.dtype == np.uint8
    return int(found.leaves[0, 0, 0]), found.confidence[0, 0, 0] / 255, int(found.codes[0, 0, 0])


class TestRestrict:
    def test_the_best_leaf_of_the_label_set(self) -> None:
        leaf, confidence, code = one_voxel([9.0, 5.0, 1.0, 0.0, 2.0], TCV)
        assert (leaf, code) == (WM, WM + 1)
        expected = np.exp(2) / (np.exp(0) + np.exp(1) + np.exp(2))
        assert confidence == pytest.approx(expected, abs=1 / 255)

    @pytest.mark.parametrize("leaf", range(5))
    def test_known_voxels_keep_their_code(self, leaf: int) -> None:
        scores = [0.0 if leaf == other else 50.0 for other in range(5)]
        assert one_voxel(scores, leaf + 1) == (leaf, 1.0, leaf + 1)

    def test_where_nothing_is_known_the_head_decides(self) -> None:
        leaf, confidence, code = one_voxel([0.0, 3.0, 0.0, 0.0, 0.0], UNKNOWN, decision=WM)
        assert (leaf, code) == (WM, WM + 1)
        assert confidence == pytest.approx(1 / (4 + np.exp(3)), abs=1 / 255)

    @pytest.mark.parametrize(("least", "code"), [(0.5, WM + 1), (0.6, WM + 1), (0.7, TCV)])
    def test_unsure_voxels_keep_their_label_set(self, least: float, code: int) -> None:
        assert one_voxel([9.0, 5.0, 1.0, 0.0, 2.0], TCV, least=least)[2] == code  # 0.67

    def test_every_voxel_stays_inside_its_label_set(self) -> None:
        generator = torch.Generator().manual_seed(0)
        evidence = torch.randn(5, 6, 7, 8, generator=generator) * 5
        codes = torch.randint(0, CODEBOOK.size, (6, 7, 8), generator=generator).byte()
        found = restrict(evidence, evidence.argmax(0), codes, CODEBOOK, 0.4)
        allowed = CODEBOOK.rows[codes.numpy()]
        assert np.take_along_axis(allowed, found.leaves[..., None].astype(int), -1).all()
        assert (CODEBOOK.rows[found.codes] <= allowed).all()
        changed = found.codes != codes.numpy()
        assert changed.any()
        assert (found.codes[changed] == found.leaves[changed] + 1).all()


@pytest.fixture
def pseudo_labelled(tmp_path: Path) -> tuple[Path, Path]:
    """A cohort of one full, one partial and one unlabelled scan, and labels for the last two."""
    data = make_data(
        annotate_cohort(write_cohort(tmp_path / "c", 3), ["full", "partial", "unlabelled"]),
        tmp_path / "store",
    )
    root = tmp_path / "codes"
    for number, scan in enumerate(data.train):
        if needs_prediction(scan, data.annotated.codebook):
            codes = np.full(scan.entry.shape, INVENTED[number], np.uint8)
            write_pseudo_labels(scan, PseudoLabels(codes, codes, codes), root, 50)
    return tmp_path, root


def test_only_open_annotations_need_prediction(tmp_path: Path) -> None:
    annotated = annotate_cohort(write_cohort(tmp_path, 3), ["full", "partial", "unlabelled"])
    data = make_data(annotated, tmp_path / "store")
    needed = [needs_prediction(scan, annotated.codebook) for scan in data.train]
    assert needed == [False, True, True]


def test_training_reads_them_in_place_of_the_annotation(
    pseudo_labelled: tuple[Path, Path],
) -> None:
    tmp_path, root = pseudo_labelled
    annotated = annotate_cohort(write_cohort(tmp_path / "c", 3), ["full", "partial", "unlabelled"])
    patches = PatchSettings(size=(8, 8, 8), batch_size=6, steps_per_epoch=3, workers=0)
    data = make_data(annotated, tmp_path / "store", patches)
    plain = next(iter(data.train_dataloader()))
    data.train, data.pseudo_labels = (), root
    data.setup()
    assert pickle.loads(pickle.dumps(data.train[1].entry)).labels == root / "sub-01"
    for batch, inside in zip(data.train_dataloader(), range(3), strict=True):
        for number, code in INVENTED.items():
            codes = batch.codes[batch.scan == number]
            assert set(codes.unique().tolist()) <= {code, UNKNOWN}, inside
    assert torch.equal(plain.scan, next(iter(data.train_dataloader())).scan)
    assert [scan.entry.labels is None for scan in data.train[:2]] == [True, False]


@pytest.mark.parametrize("kept", [0, 40, -300])
def test_damaged_ones_are_told_by_their_own_file(
    pseudo_labelled: tuple[Path, Path], kept: int
) -> None:
    tmp_path, root = pseudo_labelled
    annotated = annotate_cohort(write_cohort(tmp_path / "c", 3), ["full", "partial", "unlabelled"])
    data = make_data(annotated, tmp_path / "store")
    found = with_pseudo_labels(data.train[1], root, annotated.codebook, 50)
    path = root / "sub-01" / "codes.b2nd"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"{path} cannot be read .*; delete {root / 'sub-01'} and"):
        found.entry.read_codes()


def test_a_later_stage_sees_other_patches(tmp_path: Path) -> None:
    annotated = annotate_cohort(write_cohort(tmp_path, 2), ["full", "partial"])
    data = make_data(annotated, tmp_path / "store")
    first = next(iter(data.train_dataloader())).image
    data.first_step = 3_000_000
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert not torch.equal(first, batches[0].image)


def test_what_is_half_written_does_not_count(tmp_path: Path) -> None:
    annotated = annotate_cohort(write_cohort(tmp_path, 1), ["partial"])
    scan = make_data(annotated, tmp_path / "store").train[0]
    root, codes = tmp_path / "codes", np.ones(scan.entry.shape, np.uint8)
    (root / ".draft-sub-00").mkdir(parents=True)
    (root / ".draft-sub-00" / "codes.b2nd").write_bytes(b"cut off")
    assert not is_written(scan, root)
    assert with_pseudo_labels(scan, root, annotated.codebook, 50) is scan
    write_pseudo_labels(scan, PseudoLabels(codes, codes, codes), root, 50)
    assert is_written(scan, root)
    found = with_pseudo_labels(scan, root, annotated.codebook, 50)
    assert (np.asarray(found.entry.codes[:]) == 1).all()


def test_those_of_other_networks_or_files_do_not_count(tmp_path: Path) -> None:
    annotated = annotate_cohort(write_cohort(tmp_path, 1), ["partial"])
    scan = make_data(annotated, tmp_path / "store").train[0]
    root, codes = tmp_path / "codes", np.ones(scan.entry.shape, np.uint8)
    write_pseudo_labels(scan, PseudoLabels(codes, codes, codes), root, 50, "first")
    assert is_written(scan, root, "first")
    assert not is_written(scan, root, "second")
    write_pseudo_labels(scan, PseudoLabels(codes, codes, codes * 2), root, 50, "second")
    assert is_written(scan, root, "second")
    found = with_pseudo_labels(scan, root, annotated.codebook, 50)
    assert (np.asarray(found.entry.codes[:]) == 2).all()


def test_scrambled_children_are_not_seen(tmp_path: Path) -> None:
    """What is predicted for depends on what the protocol tells, not on what it hides."""
    rng = np.random.default_rng(0)
    labels = np.array([[0, 1, 11, 12, 20, 20]], np.uint8)
    assert (scramble(labels, rng)[:, :2] == labels[:, :2]).all()
    scans = [
        make_data(
            annotate_cohort(write_cohort(tmp_path / name, 1, scrambled), ["partial"]),
            tmp_path / name / "store",
        )
        for name, scrambled in (("plain", ()), ("noise", (0,)))
    ]
    generator = torch.Generator().manual_seed(0)
    found = []
    for data in scans:
        scan = data.train[0]
        evidence = torch.randn(5, *scan.entry.shape, generator=generator.manual_seed(1))
        codes = torch.from_numpy(scan.visible.lookup[np.asarray(scan.entry.codes[:])])
        found.append(restrict(evidence, evidence.argmax(0), codes, data.annotated.codebook, 0.5))
    assert np.array_equal(found[0].codes, found[1].codes)
    assert np.array_equal(found[0].confidence, found[1].confidence)
