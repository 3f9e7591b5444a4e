"""Violations of the hierarchy and calibration, against loops over voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoseg.evaluation import probability
from neoseg.evaluation.probability import Calibration, HierarchyCheck, ancestors
from neoseg.labels import UNKNOWN
from neoseg.networks import make_head

SHAPE = (5, 4, 3)


def hierarchy_violations(logits: torch.Tensor, head) -> np.ndarray:
    """Of a volume in two pieces."""
    check = HierarchyCheck(head)
    for piece in (logits[:, :2], logits[:, 2:]):
        check.add(piece)
    return check.violations


def calibration_errors(logits, head, codes, codebook, bins: int = 15) -> np.ndarray:
    """Of a volume in two pieces."""
    check = Calibration(head, codebook, bins)
    for piece in (slice(0, 2), slice(2, None)):
        check.add(logits[:, piece], codes[piece])
    return check.errors


@pytest.fixture
def logits(space) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(space.num_classes, *SHAPE, generator=generator)


def test_parents_of_a_class_are_all_that_contain_it(space, drawem87) -> None:
    left, right, both = (space.class_position(name) for name in ("L", "R", "LR"))
    assert ancestors(space) == {left: [both], right: [both]}
    found = ancestors(drawem87)
    for child, parents in found.items():
        for parent in parents:
            assert drawem87.classes[child].leaves < drawem87.classes[parent].leaves
    assert len(found[drawem87.class_position("STGm_GM_L")]) > 2


def test_violations_are_counted_voxel_by_voxel(space, logits) -> None:
    found = hierarchy_violations(logits, make_head("multilabel", space))
    both = space.class_position("LR")
    for number, entry in enumerate(space.classes):
        if entry.abbreviation not in ("L", "R"):
            assert np.isnan(found[number])
            continue
        inside = outside = 0
        for place in np.ndindex(SHAPE):
            if logits[(number, *place)] > 0:
                inside += 1
                outside += bool(logits[(both, *place)] <= 0)
        assert 0 < outside < inside
        assert found[number] == pytest.approx(outside / inside, abs=1e-12)


def test_a_consistent_prediction_violates_nothing(space) -> None:
    logits = torch.full((space.num_classes, *SHAPE), -5.0)
    left, right, both = (space.class_position(name) for name in ("L", "R", "LR"))
    logits[left, 2:] = 5
    logits[both, 1:] = 5
    found = hierarchy_violations(logits, make_head("multilabel", space))
    assert found[left] == 0
    assert np.isnan(found[right])  # nowhere predicted
    logits[both, 2] = -5
    assert hierarchy_violations(logits, make_head("multilabel", space))[left] == 1 / 3


def test_a_softmax_cannot_violate(space, logits) -> None:
    found = hierarchy_violations(logits[: space.num_leaves], make_head("softmax", space))
    assert np.isnan(found).all()


def looped_error(p: np.ndarray, codes: np.ndarray, codebook, number: int, bins: int) -> float:
    """The expected calibration error as its definition reads."""
    background = codebook.space.background
    content: list[list[tuple[float, float]]] = [[] for _ in range(bins)]
    for place in np.ndindex(codes.shape):
        member = codebook.membership[codes[place], number]
        empty = codes[place] == background + 1 and p[(background, *place)] > 0.5
        if member == -1 or empty:
            continue
        value = float(p[(number, *place)])
        which = next(b for b in range(bins) if value <= (b + 1) / bins or b == bins - 1)
        content[which].append((value, float(member)))
    total = sum(map(len, content))
    if not total:
        return float("nan")
    return (
        sum(
            len(entries) * abs(np.mean([v for v, _ in entries]) - np.mean([m for _, m in entries]))
            for entries in content
            if entries
        )
        / total
    )


@pytest.mark.parametrize("together", [2**22, 1])
@pytest.mark.parametrize("head", ["multilabel", "softmax"])
@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_is_its_definition(monkeypatch, codebook, logits, together, head, bins) -> None:
    monkeypatch.setattr(probability, "_VALUES", together)
    space = codebook.space
    built = make_head(head, space)
    logits = logits[: built.channels]
    codes = np.random.default_rng(0).integers(0, codebook.size, SHAPE).astype(np.uint8)
    codes[:2] = space.background + 1
    found = calibration_errors(logits, built, codes, codebook, bins)
    p = built.class_probabilities(logits[None])[0].numpy()
    for number in range(space.num_classes):
        expected = looped_error(p, codes, codebook, number, bins)
        assert found[number] == pytest.approx(expected, abs=1e-6)


def test_calibration_by_hand(codebook) -> None:
    """Everything left, said with 0.8 of left: off by 0.2; a truth that knows nothing says n/a."""
    space = codebook.space
    logits = torch.full((space.num_classes, *SHAPE), -30.0)
    left = space.class_position("L")
    logits[left] = float(np.log(4))
    codes = np.full(SHAPE, left + 1, np.uint8)
    found = calibration_errors(logits, make_head("multilabel", space), codes, codebook)
    assert found[left] == pytest.approx(0.2, abs=1e-6)
    assert found[space.class_position("CSF")] == pytest.approx(0, abs=1e-6)
    assert found[space.class_position("LR")] == pytest.approx(1, abs=1e-6)
    codes[:] = UNKNOWN
    assert np.isnan(
        calibration_errors(logits, make_head("multilabel", space), codes, codebook)
    ).all()
