"""Check that random fields are smooth functions of position with the wanted strength."""

from __future__ import annotations

import numpy as np
import pytest

from neoseg.cohort.phantom.deformation import SmoothField, Waves


def test_field_does_not_depend_on_the_grid() -> None:
    field = SmoothField.draw(np.random.default_rng(0), 20.0, 2.0, 3)
    fine = np.linspace(-40, 40, 41).astype(np.float32)
    values = field.on_grid((fine, fine[::2], fine))
    coarse = field.on_grid((fine[::4], fine[::4], fine[::4]))
    assert values.shape == (3, 41, 21, 41)
    np.testing.assert_allclose(values[:, ::4, ::2, ::4], coarse, atol=1e-5)


def test_field_has_the_wanted_amplitude() -> None:
    axis = np.linspace(-90, 90, 40).astype(np.float32)
    field = SmoothField.draw(np.random.default_rng(1), 10.0, 2.0, 3)
    assert field.on_grid((axis, axis, axis)).std() == pytest.approx(2.0, rel=0.15)


def test_mean_expansion_finds_a_linear_map() -> None:
    # Coefficients that rise linearly make a linear field: 10 mm a node, 0.3 mm a node.
    coefficients = np.zeros((23, 23, 23, 3), np.float32)
    ramp = 0.3 * np.arange(23, dtype=np.float32)
    coefficients[..., 0] = ramp[:, None, None]
    assert SmoothField(coefficients).mean_expansion(40.0) == pytest.approx(0.03 / 3, rel=1e-3)


def test_wave_gradients_match_differences() -> None:
    rng = np.random.default_rng(2)
    waves = Waves.draw(rng, 0.3)
    points = rng.normal(0, 20, (50, 3)).astype(np.float32)
    normals = np.tile(np.float32((0, 0, 1)), (50, 1))
    _, gradients = waves.evaluate(points, normals)
    step = np.float32((0.05, 0, 0))
    ahead, behind = (waves.evaluate(points + s, normals)[0] for s in (step, -step))
    np.testing.assert_allclose(gradients[:, 0], (ahead - behind) / 0.1, atol=5e-3)
    np.testing.assert_allclose(gradients[:, 2], 0, atol=1e-6)
