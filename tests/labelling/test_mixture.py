from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

from neoseg.labelling.mixture import (
    REACH,
    SHRINKAGE,
    STIFFNESS,
    Candidates,
    candidates,
    refined,
)


@pytest.fixture(name="rng")
def rng_fixture() -> Generator:
    return np.random.default_rng(0)


def dense(found: Candidates, leaves: int) -> np.ndarray:
    table = np.zeros((found.n, leaves))
    table[found.voxel, found.leaf] = found.share
    return table


def test_without_blur_the_votes_are_counted() -> None:
    votes = np.array([[0, 1, 2], [0, 2, 2], [1, 2, 0]], np.uint8)
    weights = np.array([[0.5, 0.0, 0.1], [0.25, 0.5, 0.1], [0.25, 0.25, 0.0]])
    found = candidates(votes, weights, np.array([3, 9, 20]), (3, 3, 3), blur=0)
    np.testing.assert_allclose(dense(found, 3), [[0.75, 0.25, 0], [0, 0, 1], [0, 0, 1]])
    leaf, share = found.most()
    assert leaf.tolist() == [0, 2, 2]
    assert share.tolist() == [0.75, 1, 1]


def test_blurred_votes_are_those_of_a_blurred_scan(rng: Generator) -> None:
    shape = (9, 8, 14)
    at = np.sort(rng.choice(np.prod(shape), 300, replace=False))
    votes = rng.integers(0, 3, (4, 300)).astype(np.uint8)
    votes[:, at > at[200]] = 0  # leaves 1 and 2 have a part of the scan that they never reach
    weights = rng.random((4, 300))
    expected = np.zeros((300, 3))
    for leaf in range(3):
        field = np.zeros(shape)
        field.flat[at] = (weights * (votes == leaf)).sum(0)
        expected[:, leaf] = gaussian_filter(field, 1.0, mode="constant", radius=REACH).flat[at]
    expected /= expected.sum(1, keepdims=True)
    found = candidates(votes, weights, at, shape, blur=1.0)
    np.testing.assert_allclose(dense(found, 3), expected, atol=1e-12)


def test_a_step_is_that_of_the_book(rng: Generator) -> None:
    """Dense, with SciPy's density: means, covariances, proportions from the prior, then Bayes."""
    n, leaves, images = 400, 3, 2
    prior = rng.dirichlet(np.ones(leaves), n)
    prior[:50, 1] = 0
    prior /= prior.sum(1, keepdims=True)
    values = rng.normal(size=(n, images)) + rng.integers(0, 3, (n, 1))
    voxel, leaf = np.nonzero(prior)
    order = np.argsort(leaf, kind="stable")
    entries = Candidates(
        voxel[order], leaf[order].astype(np.uint8), prior[voxel[order], leaf[order]], n
    )
    found, factor, stiff = prior, np.ones(leaves), STIFFNESS * n
    for _ in range(3):
        fit = np.zeros((n, leaves))
        for k in range(leaves):
            total = found[:, k].sum() + SHRINKAGE
            centre = (found[:, k] @ values + SHRINKAGE * values.mean(0)) / total
            off = values - centre
            wide = SHRINKAGE * (np.cov(values.T, bias=True) + 1e-6 * np.eye(images))
            covariance = ((found[:, k, None] * off).T @ off + wide) / total
            fit[:, k] = multivariate_normal(centre, covariance).pdf(values)
        expected = (prior / (prior @ factor)[:, None]).sum(0)
        factor = (found.sum(0) + stiff) / (expected + stiff)
        found = prior * factor * fit
        found /= found.sum(1, keepdims=True)
    np.testing.assert_allclose(dense(refined(entries, values, 3), leaves), found, atol=1e-9)


def test_brightness_finds_a_border_that_the_votes_misplace(rng: Generator) -> None:
    shape = (20, 16, 16)
    truth = (np.arange(20) >= 10).astype(np.uint8)[:, None, None] * np.ones(shape, np.uint8)
    votes = np.roll(truth, 2, axis=0)
    votes[:2] = 0
    image = truth * 2.0 + rng.normal(scale=0.5, size=shape)
    at = np.arange(truth.size)
    args = votes.reshape(1, -1), np.ones((1, truth.size)), at, shape
    right = {}
    for name, values in {"bright": image, "flat": rng.normal(size=shape)}.items():
        leaf, share = refined(candidates(*args), values.reshape(-1, 1)).most()
        right[name] = (leaf == truth.flat).mean()
        if name == "bright":
            sure = share > 0.9
            assert sure.mean() > 0.7
            assert (leaf == truth.flat)[sure].mean() > 0.99
    assert right["bright"] > 0.98, right
    assert 0.88 < right["flat"] < 0.92, "where nothing is bright, the votes stay: two planes of 20"


def test_a_scan_of_other_proportions_than_its_atlas(rng: Generator) -> None:
    """Where brightness tells leaves apart, it says how large they are; elsewhere the votes do."""
    n, atlas, true = 20_000, np.array([0.3, 0.69, 0.01]), np.array([0.7, 0.29, 0.01])
    truth = rng.choice(3, n, p=true)
    hint = np.where(rng.random(n) < 0.7, truth, rng.choice(3, n))
    votes = atlas * np.where(np.arange(3) == hint[:, None], 3.0, 1.0)
    votes /= votes.sum(1, keepdims=True)
    entries = (np.tile(np.arange(n), 3), np.repeat(np.arange(3, dtype=np.uint8), n))
    prior = Candidates(*entries, votes.T.ravel(), n)
    for means, sizes in (([0.0, 1.5, -1.0], true), ([0.0, 0.0, 0.0], votes.mean(0))):
        image = np.take(means, truth) + rng.normal(scale=0.5, size=n)
        found = dense(refined(prior, image[:, None]), 3).mean(0)
        np.testing.assert_allclose(found, sizes, atol=0.05)
        assert found[2] > 0.5 * true[2], "a small leaf is not lost"


def test_what_cannot_be_told_stays(rng: Generator) -> None:
    nothing = candidates(np.zeros((2, 5), np.uint8), np.zeros((2, 5)), np.arange(5), (5, 1, 1))
    assert refined(nothing, np.zeros((5, 1))).most()[1].tolist() == [0] * 5
    one = candidates(np.full((1, 5), 7, np.uint8), np.ones((1, 5)), np.arange(5), (5, 1, 1))
    leaf, share = refined(one, np.full((5, 2), 3.0)).most()  # an image without any contrast
    assert leaf.tolist() == [7] * 5
    assert share.tolist() == [1] * 5
