"""The doubt within what is known, what settles it, and a plan within its minutes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoseg.inference.segmentation import Segmentation
from neoseg.labels import Codebook, LabelSpace, Protocol
from neoseg.store import Geometry
from neoseg.trust.annotation_plan import Action, choose, weighed
from neoseg.trust.depths import SliceSettings, actions_of, depths_of
from neoseg.trust.doubt import Doubt, DoubtWatch

EYE = tuple(map(tuple, np.eye(4).tolist()))


def doubt_of(space: LabelSpace, codes: list[int] | None) -> Doubt:
    """Four voxels of 1 mm: sure; L or R; all leaves alike; sure."""
    leaves = [[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0.25] * 4, [0, 0, 0, 1]]
    shape = (4, 1, 1)
    geometry = Geometry(shape, EYE, shape, ((0, 4), (0, 1), (0, 1)), shape, EYE)
    book = Codebook.build(space, [frozenset([1, 2])])
    known = None
    if codes is not None:
        truth = np.array(codes, np.uint8).reshape(shape)
        known = lambda _: truth  # noqa: E731
    watch = DoubtWatch(book, depths_of(None, space), known)
    piece = torch.tensor(leaves).T[..., None, None]
    watch(piece, (slice(0, 4), slice(0, 1), slice(0, 1)), geometry)
    found = np.array([0, 1, 0, 3], np.uint8).reshape(shape)
    image = np.arange(4, dtype=np.float32).reshape(shape)
    return watch.doubt("s", Segmentation(found, found, image, geometry))


def test_doubt_is_that_within_the_known_set(space: LabelSpace) -> None:
    nothing = doubt_of(space, None)
    quarter = 2 - 0.75 * np.log2(3)  # bits of one in four
    full = {"L": 1 + quarter, "R": 1 + quarter, "CSF": quarter}
    assert nothing.settled["full"] == pytest.approx({k: v / 1000 for k, v in full.items()})
    # Told apart are {L, R}, BG and CSF: half of the last voxel stays open between L and R.
    coarse = {"L": quarter - 0.5, "R": quarter - 0.5, "CSF": quarter}
    assert nothing.settled["LR"] == pytest.approx({k: v / 1000 for k, v in coarse.items()})
    assert nothing.volume == pytest.approx({"L": 0.75e-3, "R": 0.75e-3, "CSF": 1.25e-3})
    assert nothing.extent == (2, 1, 1)
    pair = Codebook.build(space, [frozenset([1, 2])]).code(frozenset([1, 2]))
    told = doubt_of(space, [1, pair, pair, 4])
    assert told.settled["full"] == pytest.approx({"L": 2e-3, "R": 2e-3, "CSF": 0}, abs=1e-9)
    assert told.settled["LR"] == pytest.approx(dict.fromkeys(full, 0), abs=1e-9)
    assert not any(doubt_of(space, [1, 2, 3, 4]).settled["full"].values())


def test_each_structure_counts_alike() -> None:
    """Bits x ml by the volume in the whole pool; what has none there counts for nothing."""

    def one(scan: str, bits: dict[str, float], volume: dict[str, float]) -> Doubt:
        return Doubt(scan, {"full": bits}, volume, (1, 1, 1), {})

    large, small = {"L": 2.0, "R": 0.0, "CSF": 0.0}, {"L": 0.0, "R": 0.2, "CSF": 0.0}
    volume = {"L": 10.0, "R": 1.0, "CSF": 0.0}
    found = weighed([one("a", large, volume), one("b", small, volume)])
    assert [own["full"] for own in found] == pytest.approx([0.1, 0.1])
    assert weighed([one("a", large, dict.fromkeys(volume, 0.0))]) == [{"full": 0.0}]


def test_nothing_known_is_given_up(space: LabelSpace) -> None:
    depths, doubt = depths_of(None, space), doubt_of(space, None)
    minutes, slices = {"full": 10.0, "LR": 4.0}, SliceSettings(count=1, plane="sagittal")
    now = Protocol.unlabelled(space)
    offered = {a.name: a for a in actions_of(now, doubt, depths, minutes, 2.0, slices, {})}
    assert set(offered) == {"full", "LR", "sagittal_1"}
    assert offered["sagittal_1"] == Action("sagittal_1", 2.0, 0.5)
    learnt = actions_of(now, doubt, depths, minutes, 2.0, slices, {"LR": 0.3, "sagittal_1": 0.1})
    shares = {a.name: (a.share, a.settles) for a in learnt}
    assert shares == {"full": (1, "full"), "LR": (0.3, "full"), "sagittal_1": (0.1, "full")}
    missing = Protocol.parse(space, {"name": "m", "missing": ["CSF"]})
    names = [a.name for a in actions_of(missing, doubt, depths, minutes, 2.0, slices, {})]
    assert names == ["full"]


def of(name: str, full: float, coarse: float, look: float) -> Doubt:
    settled = {"full": {"L": full}, "LR": {"L": coarse}}
    return Doubt(name, settled, {"L": 1.0}, (1, 1, 1), {"look": look})


def test_a_plan_spreads_and_keeps_to_its_minutes() -> None:
    doubts = [of("a", 10, 1, 0.0), of("b", 9, 1, 0.0), of("c", 5, 1, 9.0)]
    full = [Action("full", 10, settles="full"), Action("LR", 3, settles="LR")]
    chosen = choose(doubts, [full] * 3, 22)
    assert [(c.scan, c.action.name) for c in chosen] == [(0, "full"), (2, "full")]  # b is like a
    assert sum(c.action.minutes for c in chosen) <= 22
    assert choose(doubts, [full] * 3, 2) == []
    cheap = [Action("full", 10, settles="full"), Action("LR", 0.1, settles="LR")]
    assert choose(doubts[:1], [cheap], 1)[0].action.name == "LR"
    # What is dear and worth more is not crowded out by what is cheap.
    assert choose(doubts[:1], [cheap], 10)[0].action.name == "full"
