"""Draw smooth random fields and evaluate them on a grid or at single points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from neoseg.cohort.phantom.shapes import Floats

REACH = 100.0
"""Half side, in mm, of the cube that a field covers; constant extrapolation outside."""


@dataclass(frozen=True)
class SmoothField:
    """Coefficients `[n, n, n, channels]` of a cubic B-spline field over a cube.

    A field depends on position alone, so a subject's field is the same on every voxel grid and in
    every session.
    """

    coefficients: Floats

    @classmethod
    def draw(
        cls, rng: np.random.Generator, node_distance: float, amplitude: float, channels: int
    ) -> SmoothField:
        """Draw a field with nodes every `node_distance` mm and standard deviation `amplitude`."""
        nodes = int(np.ceil(2 * REACH / node_distance)) + 3
        coefficients = rng.standard_normal((nodes, nodes, nodes, channels))
        # A cubic B-spline averages its coefficients: the mean sum of squared weights per axis is
        # 0.479, which reduces the variance.
        return cls((coefficients * amplitude / 0.479**1.5).astype(np.float32))

    def on_grid(self, axes: Sequence[Floats]) -> Floats:
        """Evaluate on the grid spanned by three coordinate axes in mm: `[channels, X, Y, Z]`."""
        # Sparse products: four weights per point, and the same rounding for any number of threads.
        values = self.coefficients
        for axis in axes:
            weights = _spline_weights(axis, self.coefficients.shape[0])
            size, *rest = values.shape
            values = weights @ values.reshape(size, -1)
            values = np.moveaxis(values.reshape(-1, *rest), 0, -1)
        # Each pass moved the finished axis to the back: [channels, X, Y, Z] remains.
        return np.ascontiguousarray(values)

    def mean_expansion(self, radius: float) -> float:
        """Return the mean relative change of length caused by a displacement field.

        This is the mean diagonal of the affine map that best fits the field on a cube of half side
        `radius` mm around the origin.
        """
        line = np.linspace(-radius, radius, 13).astype(np.float32)
        field = self.on_grid((line, line, line))
        slopes = [
            np.tensordot(np.moveaxis(field[axis], axis, 0).mean(axis=(1, 2)), line, 1)
            / float(line @ line)
            for axis in range(3)
        ]
        return float(np.mean(slopes))


def _spline_weights(axis: Floats, nodes: int) -> sparse.csr_array:
    distance = 2 * REACH / (nodes - 3)
    position = np.clip((np.asarray(axis, np.float64) + REACH) / distance, 0, nodes - 3 - 1e-6)
    first = position.astype(int)
    t = position - first
    weights = np.stack(
        [
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        ],
        axis=1,
    )
    columns = first[:, None] + np.arange(4)
    starts = np.arange(0, 4 * len(axis) + 1, 4)
    return sparse.csr_array(
        (weights.astype(np.float32).ravel(), columns.ravel(), starts), (len(axis), nodes)
    )


@dataclass(frozen=True)
class Waves:
    """Plane waves whose sum is a band-limited random field of unit variance."""

    vectors: Floats
    phases: Floats
    weights: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, wavenumber: float, count: int = 16) -> Waves:
        """Draw `count` waves of about `wavenumber` radians per mm."""
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavenumber * rng.uniform(0.8, 1.2, (count, 1))
        return cls(
            (directions * lengths).astype(np.float32),
            rng.uniform(0, 2 * np.pi, count).astype(np.float32),
            np.full(count, np.sqrt(2.0 / count), np.float32),
        )

    def mixed_with(self, other: Waves, share: float) -> Waves:
        """Return a mixture in which `other` contributes a fraction `share` of the variance."""
        return Waves(
            np.concatenate([self.vectors, other.vectors]),
            np.concatenate([self.phases, other.phases]),
            np.concatenate([self.weights * np.sqrt(1 - share), other.weights * np.sqrt(share)]),
        )

    def evaluate(
        self, points: Floats, normals: Floats, chunk: int = 1 << 14
    ) -> tuple[Floats, Floats]:
        """Return values `[N]` and gradients `[N, 3]` without their component along `normals`."""
        values = np.empty(len(points), np.float32)
        gradients = np.empty((len(points), 3), np.float32)
        slopes = self.vectors * self.weights[:, None]
        for start in range(0, len(points), chunk):
            part = slice(start, start + chunk)
            # einsum, not @: matrix products may round differently with the number of threads.
            angles = np.einsum("nk,mk->nm", points[part], self.vectors) + self.phases
            values[part] = np.einsum("nm,m->n", np.cos(angles), self.weights)
            full = -np.einsum("nm,mk->nk", np.sin(angles), slopes)
            along = np.einsum("nk,nk->n", full, normals[part])
            gradients[part] = full - along[:, None] * normals[part]
        return values, gradients
