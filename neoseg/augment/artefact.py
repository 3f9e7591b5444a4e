"""Scanner artefacts on one patch: ghosts, motion between lines of k-space, spikes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neoseg.accelerator import sent
from neoseg.augment.axis import Matrices, along, apply
from neoseg.augment.patch_map import Triple
from neoseg.augment.warp import rotation

CENTRE = 0.04
"""Fraction of k-space lines around the centre that artefacts leave unchanged, so that the anatomy
stays aligned with the codes.
"""


@lru_cache(maxsize=32)
def _wave_numbers(n: int) -> np.ndarray:
    """Return the magnitude of the integer wave number of each line of k-space `[n]`."""
    numbers: np.ndarray = np.abs(np.fft.fftfreq(n, 1 / n)).round().astype(int)
    return numbers


def _is_central(n: int) -> np.ndarray:
    return _wave_numbers(n) <= max(1, round(CENTRE * n / 2))


def _circulant(gains: np.ndarray) -> np.ndarray:
    """Return the matrix `[n, n]` that multiplies the lines of k-space by real, even gains `[n]`."""
    n = len(gains)
    kernel = np.fft.ifft(gains).real
    matrix: np.ndarray = kernel[(np.arange(n)[:, None] - np.arange(n)) % n]
    return matrix


def ghosts(n: int, number: int, strength: float) -> np.ndarray:
    """Return the matrix that adds `number` faint copies along an axis of `n` voxels.

    Every `number`-th line of k-space is weakened by `strength` (0 to 1), as by a pulsating object
    or a fluctuating scanner gain.
    """
    weak = (_wave_numbers(n) % number == 0) & ~_is_central(n)
    return _circulant(1.0 - strength * weak)


@dataclass(frozen=True)
class Motion:
    """Head motion: some lines of k-space along `axis` were acquired in another pose.

    Attributes:
        axis: phase-encoding axis, along which the lines are counted.
        turn: radians about each axis.
        shift: voxels along each axis.
        moved: bool `[n]`, the lines acquired in the second pose.
    """

    axis: int
    turn: np.ndarray
    shift: np.ndarray
    moved: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, size: Triple, strength: float) -> Motion:
        """Draw a pose up to `strength` voxels and degrees away; a slice moves within its plane."""
        thick = [axis for axis in range(3) if size[axis] > 1]
        choice, interleave, onset = rng.random(), int(rng.integers(1, 4)), rng.uniform(0.1, 0.6)
        turn, shift = rng.uniform(-1, 1, 3) * strength, rng.uniform(-1, 1, 3) * strength
        for axis in set(range(3)) - set(thick):
            turn[[other for other in range(3) if other != axis]] = 0
            shift[axis] = 0
        axis = thick[int(choice * len(thick))] if thick else 0
        n = size[axis]
        numbers = _wave_numbers(n)
        # Excitations are interleaved: of the later lines every `interleave`-th is affected.
        moved = (numbers > onset * n / 2) & (numbers % interleave == 0) & ~_is_central(n)
        return cls(axis, np.deg2rad(turn), shift, moved)

    def apply(self, x: Tensor) -> Tensor:
        """Return `x` `[X, Y, Z]` with the lines in `moved` taken from the second pose."""
        grid = torch.empty((1, *x.shape, 3), device=x.device)
        half = [max(n - 1, 1) / 2 for n in x.shape]
        turn = rotation(self.turn)
        lines = [torch.arange(n, device=x.device) - (n - 1) / 2 for n in x.shape]
        for axis in range(3):  # grid_sample uses coordinates from -1 to 1, last axis first
            row = [float(value) / half[axis] for value in turn[axis]]
            sheet = row[1] * lines[1][:, None] + row[2] * lines[2]
            column = row[0] * lines[0] + float(self.shift[axis]) / half[axis]
            torch.add(column[:, None, None], sheet, out=grid[0, ..., 2 - axis])
        posed = F.grid_sample(x[None, None], grid, padding_mode="border", align_corners=True)
        matrices = along(self.axis, _circulant(self.moved.astype(float)))
        return x + apply(posed[0, 0] - x, matrices)


@dataclass(frozen=True)
class Spike:
    """A spike at one point of k-space: a plane wave of `height` standard deviations.

    `wave` is the integer number of periods over the patch along each axis, `phase` is in radians.
    """

    wave: np.ndarray
    phase: float
    height: float

    @classmethod
    def draw(cls, rng: np.random.Generator, size: Triple, strength: float) -> Spike:
        """Draw a wave of at most `strength` standard deviations and a period of 3 to 16 voxels."""
        direction = rng.normal(size=3) * [n > 1 for n in size]
        length = max(float(np.linalg.norm(direction)), 1e-6)
        cycles = direction / length / rng.uniform(3, 16)
        wave = np.rint(cycles * size)
        return cls(wave, float(rng.uniform(0, 2 * np.pi)), strength * float(rng.uniform(0.3, 1)))

    def add_to(self, x: Tensor, deviation: float) -> Tensor:
        """Add the wave to `x` `[X, Y, Z]` in place."""
        n = x.shape
        lines = [np.exp(2j * np.pi * self.wave[a] * np.arange(n[a]) / n[a]) for a in range(3)]
        first = lines[0] * np.exp(1j * self.phase) * (self.height * deviation)
        plane = lines[1][:, None] * lines[2]

        def to_device(values: np.ndarray) -> Tensor:
            return sent(torch.from_numpy(values.astype(np.float32)), x.device)

        x.addcmul_(to_device(first.real)[:, None, None], to_device(plane.real))
        return x.addcmul_(to_device(-first.imag)[:, None, None], to_device(plane.imag))


@dataclass(frozen=True)
class Ghosting:
    """`number` faint copies along one axis, from k-space lines weakened by `strength`."""

    axis: int
    number: int
    strength: float

    @classmethod
    def draw(cls, rng: np.random.Generator, size: Triple, strength: float) -> Ghosting:
        """Draw ghosts of at most `strength`."""
        thick = [axis for axis in range(3) if size[axis] > 1]
        choice, number, fraction = rng.random(), int(rng.integers(2, 7)), rng.uniform(0.3, 1)
        axis = thick[int(choice * len(thick))] if thick else 0
        return cls(axis, number, min(1.0, strength * float(fraction)))

    def matrices(self, size: Triple) -> Matrices:
        """Return the per-axis matrices that add the ghosts to a patch."""
        return along(self.axis, ghosts(size[self.axis], self.number, self.strength))
