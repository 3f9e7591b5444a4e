from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from neoseg.augment.artefact import Ghosting, Motion, Spike, ghosts

SHAPE = (24, 20, 22)
X = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("n", [24, 25])
@pytest.mark.parametrize("number", [2, 3, 6])
def test_ghosts_weaken_every_so_manyth_line(n: int, number: int) -> None:
    line = X.ravel()[:n].astype(float)
    before, after = np.fft.fft(line), np.fft.fft(ghosts(n, number, 0.4) @ line)
    gains = (after / before).real
    wave = np.abs(np.fft.fftfreq(n, 1 / n)).round()
    np.testing.assert_allclose(gains, np.where((wave % number == 0) & (wave > 1), 0.6, 1.0))
    np.testing.assert_allclose(ghosts(n, number, 0.0) @ line, line)


def test_ghosts_lie_along_one_axis() -> None:
    axes = set()
    for seed in range(20):
        matrices = Ghosting.draw(rng(seed), SHAPE, 0.5).matrices(SHAPE)
        (axis,) = [a for a in range(3) if matrices[a] is not None]
        axes.add(axis)
    assert axes == {0, 1, 2}
    assert Ghosting.draw(rng(), (1, 20, 1), 0.5).axis == 1


def test_a_head_that_did_not_move_is_unchanged() -> None:
    still = Motion.draw(rng(), SHAPE, 0.0).apply(torch.from_numpy(X))
    np.testing.assert_allclose(still, X, atol=1e-5)


def test_motion_replaces_lines_by_those_of_the_second_pose() -> None:
    smooth = ndimage.gaussian_filter(X, 2).astype(np.float32) * 10
    shift = np.array([2.0, 0.0, 0.0])
    everything = Motion(0, np.zeros(3), shift, np.ones(SHAPE[0], bool))
    moved = everything.apply(torch.from_numpy(smooth)).numpy()
    np.testing.assert_allclose(moved[:-2], smooth[2:], atol=1e-4)
    some = Motion.draw(rng(3), SHAPE, 3.0)
    found = some.apply(torch.from_numpy(smooth)).numpy()
    lines = np.abs(np.fft.fft(found - smooth, axis=some.axis))
    energy = np.moveaxis(lines, some.axis, 0).reshape(SHAPE[some.axis], -1).max(axis=1)
    wave = np.abs(np.fft.fftfreq(SHAPE[some.axis], 1 / SHAPE[some.axis]))
    assert energy.max() > 0.1
    # What makes the shapes, in the centre of k-space, stays where the codes are.
    assert energy[wave <= 1].max() < 1e-3


def test_motion_turns_as_scipy_does() -> None:
    smooth = ndimage.gaussian_filter(X, 2).astype(np.float32)
    angle = np.deg2rad(10.0)
    motion = Motion(0, np.array([0, 0, angle]), np.zeros(3), np.ones(SHAPE[0], bool))
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    middle = (np.array(SHAPE) - 1) / 2
    expected = ndimage.affine_transform(
        smooth, turn, middle - turn @ middle, order=1, mode="nearest"
    )
    np.testing.assert_allclose(motion.apply(torch.from_numpy(smooth)), expected, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_moves_in_its_plane(axis: int) -> None:
    size = tuple(1 if a == axis else 20 for a in range(3))
    for seed in range(5):
        motion = Motion.draw(rng(seed), size, 5.0)  # type: ignore[arg-type]
        assert motion.shift[axis] == 0
        assert not motion.turn[[a for a in range(3) if a != axis]].any()
        assert motion.axis != axis


def test_a_spike_is_one_wave() -> None:
    spike = Spike.draw(rng(1), SHAPE, 0.5)
    wave = spike.add_to(torch.zeros(SHAPE), 2.0).numpy()
    assert np.abs(wave).max() == pytest.approx(2.0 * spike.height, rel=0.05)
    assert 0.15 <= spike.height <= 0.5
    energy = np.abs(np.fft.fftn(wave)) ** 2
    assert np.sort(energy.ravel())[-2:].sum() > 0.999 * energy.sum()
