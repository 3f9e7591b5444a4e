"""Two cohorts with other label conventions in one data module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from forked import CONTEXT
from small_cohort import (
    annotate_cohort,
    make_data,
    save,
    small_space,
    write_cohort,
)

from neoseg.cohort import Cohort, Plan
from neoseg.labels import Convention
from neoseg.patches import datamodule
from neoseg.patches.batch import Batch
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import PatchSettings

FOREIGN = {0: "BG", 3: "CSF", 4: ["GM", "WM"], 5: None}
"""The other cohort's integers: its brain is one structure, and 5 says nothing."""
OWN = {0: 0, 1: 3, 11: 4, 12: 4, 20: 5}


def foreign_cohort(root: Path, number: int = 3, noise: bool = False, **options: Any) -> Cohort:
    """Heads with the same names of subjects, in the other convention."""
    cohort = write_cohort(root, number, **options)
    for place, scan in enumerate(cohort.scans):
        if scan.label is None:
            continue
        labels = np.asarray(nib.load(scan.label).dataobj)
        values = np.vectorize(OWN.__getitem__)(labels).astype(np.uint8)
        if noise:
            inside = np.isin(values, (4, 5))
            rng = np.random.default_rng(place)
            values[inside] = rng.choice(np.array([4, 5], np.uint8), int(inside.sum()))
        save(scan.label, values)
    scans = tuple(replace(scan, cohort="other") for scan in cohort.scans)
    return Cohort("other", scans, Convention.from_mapping(small_space(), FOREIGN), ("T2w",))


def both(
    root: Path,
    scrambled: tuple[int, ...] = (),
    noise: bool = False,
    protocol: dict[str, object] | None = None,
    weights: tuple[float | None, float | None] = (1.0, 1.0),
) -> Plan:
    """Three heads of each; the last of the other cohort has no labels."""
    first = annotate_cohort(
        write_cohort(root / "a", 3, scrambled=scrambled), ["full", "partial", "partial"]
    )
    second = annotate_cohort(
        foreign_cohort(root / "b", noise=noise, unlabelled=[2]),
        ["partial", "partial", "unlabelled"],
        protocol=protocol,
    )
    sources = (first.sources[0], second.sources[0])
    return Plan.of([replace(s, weight=w) for s, w in zip(sources, weights, strict=True)])


def settings(**changes: object) -> PatchSettings:
    values = {"size": (8, 8, 8), "batch_size": 6, "steps_per_epoch": 4, "workers": 0}
    return PatchSettings(**(values | changes))  # type: ignore[arg-type]


def batches(data: MixedDataModule, rank: int = 0, ranks: int = 1) -> list[Batch]:
    progress = SimpleNamespace(total=SimpleNamespace(ready=0))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank,
        world_size=ranks,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )
    return list(data.train_dataloader())


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for name in ("image", "codes", "stream", "scan"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MixedDataModule:
    root = tmp_path_factory.mktemp("data")
    return make_data(both(root), root / "store", settings())


def test_scans_of_all_cohorts_take_part(data: MixedDataModule) -> None:
    keys = [(s.source, s.entry.scan.cohort, s.entry.scan.subject) for s in data.train]
    assert keys == [(0, "small", f"{n:02}") for n in range(3)] + [
        (1, "other", f"{n:02}") for n in range(3)
    ]
    folders = {path.name for path in data.store.root.iterdir() if path.is_dir()}
    assert folders >= {"small", "other"}
    assert len({scan.entry.folder for scan in data.train}) == 6


def test_codes_mean_what_each_convention_says(data: MixedDataModule) -> None:
    book, space = data.annotated.codebook, small_space()
    seen: dict[int, set[frozenset[int]]] = {}
    for batch in batches(data):
        for number, codes in zip(batch.scan.tolist(), batch.codes, strict=True):
            seen.setdefault(number, set()).update(book.sets[c] for c in codes.unique().tolist())
    brain = space.label_set("TCV")
    assert seen[0] > {frozenset([k]) for k in range(2, 5)}
    assert brain in seen[1]
    assert brain in seen[3]
    assert not any(len(s) == 1 and s <= brain for n in (1, 3, 4) for s in seen[n])
    assert seen[5] == {space.everything}


def test_shares_of_a_stream_follow_the_weights(tmp_path: Path) -> None:
    annotated = both(tmp_path, weights=(3.0, 1.0))
    data = make_data(annotated, tmp_path / "store", settings(batch_size=6, mix={"partial": 1.0}))
    sources = [data.train[n].source for b in batches(data) for n in b.scan.tolist()]
    assert [sources.count(place) for place in (0, 1)] == [18, 6]


def test_ranks_share_the_items_of_both(data: MixedDataModule) -> None:
    halves = zip(batches(data, 0, 2), batches(data, 1, 2), strict=True)
    for whole, (a, b) in zip(batches(data), halves, strict=True):
        assert torch.equal(whole.image, torch.cat([a.image, b.image]))
        assert torch.equal(whole.scan, torch.cat([a.scan, b.scan]))


@pytest.mark.parametrize(
    ("change", "protocol"),
    [
        ({"scrambled": (1, 2)}, None),
        ({"noise": True}, {"name": "partial", "merge": [["GM", "WM", "BG", "CSF"]]}),
    ],
    ids=["first", "other"],
)
def test_nothing_sees_what_either_protocol_hides(
    tmp_path: Path, change: dict[str, Any], protocol: dict[str, object] | None
) -> None:
    """Noise in place of hidden labels of one cohort gives the same batches to the bit."""
    found = []
    for name, changes in (("true", {}), ("noise", change)):
        root = tmp_path / name
        annotated = both(root, protocol=protocol, **changes)
        found.append(make_data(annotated, root / "store", settings(foreground=0.9)))
    true, noise = found
    differing = [
        not np.array_equal(a.entry.codes[:], b.entry.codes[:])
        for a, b in zip(true.train, noise.train, strict=True)
        if a.entry.annotated
    ]
    assert any(differing)
    assert_equal(batches(true), batches(noise))


@pytest.mark.slow
def test_loader_processes_give_the_same_patches(
    data: MixedDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "light_spawn", lambda: CONTEXT)
    patches = settings(workers=2)
    other = MixedDataModule(data.annotated, data.store, patches, data.augment, data.seed)
    other.setup()
    assert_equal(batches(data), batches(other))


def test_pseudo_labels_of_one_name_stay_apart(data: MixedDataModule, tmp_path: Path) -> None:
    from neoseg.patches.pseudo import PseudoLabels, write_pseudo_labels

    for number in (1, 4):  # sub-01 of either
        scan = data.train[number]
        codes = np.full(scan.entry.shape, number, np.uint8)
        folder = data.annotated.folder(tmp_path, data.annotated.sources[scan.source])
        write_pseudo_labels(scan, PseudoLabels(codes, codes, codes), folder, 50)
    later = MixedDataModule(data.annotated, data.store, data.patches, data.augment, 0)
    later.pseudo_labels = tmp_path
    later.setup()
    assert np.unique(later.train[1].entry.codes[:]).tolist() == [1]
    assert np.unique(later.train[4].entry.codes[:]).tolist() == [4]
    assert later.train[3].entry.folder == data.train[3].entry.folder
