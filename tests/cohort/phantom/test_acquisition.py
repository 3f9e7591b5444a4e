"""Check the steps between anatomy and stored image against direct calculations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from neoseg.cohort.phantom.acquisition import average_blocks, majority, move


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_majority_is_the_commonest_label_lowest_among_equals(factor: int) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (6, 12, 6)).astype(np.uint8)
    result = majority(labels, factor)
    for index in np.ndindex(result.shape):
        cube = labels[tuple(slice(i * factor, (i + 1) * factor) for i in index)]
        counts = Counter(cube.ravel().tolist())
        assert result[index] == min(counts, key=lambda label: (-counts[label], label))


def test_average_of_blocks() -> None:
    image = np.arange(2 * 4 * 4 * 4, dtype=np.float32).reshape(2, 4, 4, 4)
    result = average_blocks(image, 2)
    assert result.shape == (2, 2, 2, 2)
    assert result[1, 0, 1, 0] == pytest.approx(image[1, 0:2, 2:4, 0:2].mean())


def test_motion_changes_edges_and_keeps_the_mean() -> None:
    image = np.zeros((32, 32, 16), np.float32)
    image[8:24, 8:24, 4:12] = 1
    moved = move(np.random.default_rng(3), image, spacing=2.0, distance=2.0)
    assert np.abs(moved - image).max() > 0.05
    assert moved[:, :, 8].mean() == pytest.approx(image[:, :, 8].mean(), rel=0.25)
