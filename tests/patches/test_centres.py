from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from small_cohort import annotate_cohort, make_data, write_cohort

from neoseg.labels import Codebook, LabelSpace, Protocol
from neoseg.patches.centres import VisibleLabels, draw_centre, visible_labels
from neoseg.store.entry import StoreEntry
from neoseg.store.locations import merge_locations
from neoseg.store.settings import PrepareSettings
from neoseg.store.store import Store

LIMIT = 30


def opened(root: Path, **cohort: object) -> list[StoreEntry]:
    made = write_cohort(root, 1, **cohort)  # type: ignore[arg-type]
    return Store(root / "store", PrepareSettings(locations=LIMIT)).prepare(made, made.scans)


def annotated(entry: StoreEntry, protocol: Protocol) -> tuple[VisibleLabels, Codebook]:
    space = protocol.space
    sets = [frozenset([k]) for k in range(space.num_leaves)]
    known = [protocol.apply(s) for s in sets]
    codebook = Codebook.build(space, known)
    lookup = codebook.lookup(known)
    return visible_labels(entry, lookup, protocol, codebook, (3, 4), LIMIT), codebook


def shown_codes(entry: StoreEntry, visible: VisibleLabels) -> np.ndarray:
    """The codes that are visible, `[X, Y, Z]`."""
    codes = visible.lookup[np.asarray(entry.codes[:])]
    if visible.slices is not None:
        codes = np.where(visible.slices, codes, 0)
    return codes


def protocols(space: LabelSpace) -> dict[str, Protocol]:
    return {
        "full": Protocol.full(space),
        "super": Protocol.parse(space, {"name": "p", "merge": ["TCV"]}),
        "nested": Protocol.parse(space, {"name": "p", "merge": ["GM", "TCV"]}),
        "missing": Protocol.parse(space, {"name": "p", "missing": ["WM"]}),
        "slices": Protocol.parse(
            space, {"name": "p", "slices": {"share": 0.2, "spacing": "random"}}
        ),
        "unlabelled": Protocol.unlabelled(space),
    }


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("full", {"CSF", "GM_L", "GM_R", "WM", "GM", "TCV"}),
        ("super", {"CSF", "TCV"}),
        ("nested", {"CSF", "TCV"}),
        ("missing", {"CSF", "GM_L", "GM_R", "GM", "TCV"}),
        ("slices", {"CSF", "GM_L", "GM_R", "WM", "GM", "TCV"}),
        ("unlabelled", set()),
    ],
)
def test_centres_are_of_the_classes_that_the_annotation_shows(
    tmp_path: Path, space: LabelSpace, name: str, classes: set[str]
) -> None:
    entry = opened(tmp_path)[0]
    visible, codebook = annotated(entry, protocols(space)[name])
    codes = shown_codes(entry, visible).ravel()
    shown = {
        space.classes[c].abbreviation: np.flatnonzero(codebook.membership[codes, c] == 1)
        for c in range(space.num_classes)
        if space.background not in space.classes[c].leaves
    }
    shown = {key: where for key, where in shown.items() if where.size}
    assert set(shown) == classes
    assert len(visible.positions) == len(shown)
    # Positions follow the order of the classes, and every one shows its class.
    for positions, (key, where) in zip(visible.positions, shown.items(), strict=True):
        assert np.isin(positions, where).all(), key
        assert positions.size >= min(LIMIT, where.size)
        assert np.unique(positions).size == positions.size


@pytest.mark.parametrize("name", ["full", "super", "nested", "missing"])
def test_positions_that_are_read_are_those_of_all_codes_together(
    tmp_path: Path, space: LabelSpace, name: str
) -> None:
    entry = opened(tmp_path)[0]
    visible, codebook = annotated(entry, protocols(space)[name])
    merged = merge_locations(entry.locations(), visible.lookup, LIMIT)
    classes = [c for c in range(space.num_classes) if space.classes[c].leaves != {space.background}]
    wanted = [[m for r, m in merged.items() if codebook.membership[r, c] == 1] for c in classes]
    wanted = [np.concatenate(parts) for parts in wanted if parts]
    assert len(visible.positions) == len(wanted)
    for found, expected in zip(visible.positions, wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_positions_are_not_held(tmp_path: Path, space: LabelSpace) -> None:
    """What a process has of a scan does not depend on how many positions the store keeps."""
    made, sizes = write_cohort(tmp_path, 1), []
    for limit in (10, 1000):
        (entry,) = Store(tmp_path, PrepareSettings(locations=limit)).prepare(made, made.scans)
        visible, _ = annotated(entry, protocols(space)["full"])
        sizes.append(len(pickle.dumps(visible)))
        assert len(visible.positions[0]) > 0
    assert abs(sizes[1] - sizes[0]) < 50


@pytest.mark.parametrize("name", ["super", "nested", "unlabelled"])
def test_hidden_labels_have_no_influence(tmp_path: Path, space: LabelSpace, name: str) -> None:
    true, noise = opened(tmp_path / "a")[0], opened(tmp_path / "b", scrambled=[0])[0]
    assert not np.array_equal(np.asarray(true.codes[:]), np.asarray(noise.codes[:]))
    protocol = protocols(space)[name]
    first, second = annotated(true, protocol)[0], annotated(noise, protocol)[0]
    assert len(first.positions) == len(second.positions)
    for one, other in zip(first.positions, second.positions, strict=True):
        np.testing.assert_array_equal(one, other)
    # The same noise does show where nothing is hidden.
    full = protocols(space)["full"]
    clear, noisy = annotated(true, full)[0].positions, annotated(noise, full)[0].positions
    assert any(not np.array_equal(a, b) for a, b in zip(clear, noisy, strict=True))


def test_slices_of_the_same_scan_and_seed_are_the_same(tmp_path: Path, space: LabelSpace) -> None:
    entry = opened(tmp_path)[0]
    protocol = protocols(space)["slices"]
    first, second = annotated(entry, protocol)[0], annotated(entry, protocol)[0]
    assert first.slices is not None
    np.testing.assert_array_equal(first.slices, second.slices)
    assert first.slices.sum() == round(0.2 * entry.shape[2])


def test_a_scan_without_labels_has_no_classes(tmp_path: Path, space: LabelSpace) -> None:
    entry = opened(tmp_path, unlabelled=[0])[0]
    assert annotated(entry, protocols(space)["full"])[0].positions == ()


def test_classes_come_equally_often_and_centres_stay_inside(
    tmp_path: Path, space: LabelSpace
) -> None:
    entry = opened(tmp_path)[0]
    visible, _ = annotated(entry, protocols(space)["full"])
    shape, size = entry.shape, (4, 5, 6)
    rng = np.random.default_rng(0)
    centres = np.array([draw_centre(visible, shape, size, 1.0, rng) for _ in range(300)])
    for axis in range(3):
        start = centres[:, axis] - size[axis] // 2
        assert start.min() >= 0
        assert (start + size[axis]).max() <= shape[axis]
    codes = np.asarray(entry.codes[:])[tuple(centres.T)]
    share = np.bincount(codes, minlength=5) / len(codes)
    # Six classes: CSF 1/6; WM has its own and a share of TCV.
    assert share[0] < 0.1
    assert 0.08 < share[1] < 0.3
    assert share[4] > 0.15


def test_without_foreground_any_voxel_can_be_a_centre(tmp_path: Path, space: LabelSpace) -> None:
    entry = opened(tmp_path)[0]
    visible, _ = annotated(entry, protocols(space)["full"])
    bare = VisibleLabels(visible.lookup, None, 0, ())
    draws = [
        [
            draw_centre(a, entry.shape, (1, 1, 1), share, np.random.default_rng(s))
            for s in range(100)
        ]
        for a, share in ((visible, 0.0), (bare, 1.0))
    ]
    # No classes to choose from is the same as no wish to.
    assert draws[0] == draws[1]
    found = np.array(draws[0])
    assert (found.min(0) <= 2).all()
    assert (found.max(0) >= np.array(entry.shape) - 3).all()


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 10, 11), (30, 30, 30), (8, 30, 8)])
def test_a_patch_as_long_as_the_scan_or_longer_is_centred(size: tuple[int, int, int]) -> None:
    nothing = VisibleLabels(np.zeros(256, np.uint8), None, 0, ())
    shape = (8, 10, 11)
    for seed in range(20):
        centre = draw_centre(nothing, shape, size, 0.5, np.random.default_rng(seed))
        for middle, length, patch in zip(centre, shape, size, strict=True):
            start = middle - patch // 2
            if patch <= length:
                assert 0 <= start <= length - patch
            else:
                assert middle == length // 2


def test_the_store_keeps_what_training_asks_for(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2)
    data = make_data(annotate_cohort(cohort, ["full", "partial"]), tmp_path / "store")
    assert len(data.train[0].visible.positions) == 6
    assert len(data.train[1].visible.positions) == 2
