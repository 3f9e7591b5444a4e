"""Random intensity changes of one patch: what differs between scanners, ages and sessions."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage


class IntensitySettings(BaseModel):
    """Strengths and probabilities; a probability of zero switches a part off.

    Strengths count in units of the patch's own standard deviation where they add to intensities,
    so that they mean the same whichever normalisation prepared the scan.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias: float = Field(default=0.3, ge=0, description="largest log gain of a smooth bias field")
    bias_probability: float = Field(default=0.5, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, description="std of log gamma")
    gamma_probability: float = Field(default=0.5, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, description="contrast factor 1 +- this")
    brightness: float = Field(default=0.2, ge=0, description="shift, +- standard deviations")
    contrast_probability: float = Field(default=0.5, ge=0, le=1)
    blur: float = Field(default=0.8, ge=0, description="largest Gaussian width in voxels")
    blur_probability: float = Field(default=0.15, ge=0, le=1)
    noise: float = Field(default=0.15, ge=0, description="largest noise, standard deviations")
    noise_probability: float = Field(default=0.3, ge=0, le=1)


def augment_intensity(
    image: np.ndarray, settings: IntensitySettings | None, rng: np.random.Generator
) -> np.ndarray:
    """Return a changed copy of `image` (float32 `[M, X, Y, Z]`), each channel on its own.

    NumPy and SciPy only: their sums do not depend on the number of threads, so a patch is the
    same to the bit in the main process and in a loader worker.
    """
    if settings is None:
        return image
    return np.stack([_augment_channel(channel, settings, rng) for channel in image])


def _augment_channel(x: np.ndarray, s: IntensitySettings, rng: np.random.Generator) -> np.ndarray:
    # Every number is drawn whether or not it is used: switching one part off leaves the others.
    use = rng.random(5)
    field = rng.uniform(-1, 1, (3, 3, 3))
    log_gamma, contrast, brightness = rng.normal(), rng.uniform(-1, 1), rng.uniform(-1, 1)
    width, level = rng.uniform(0.3, 1), rng.uniform(0, 1)
    noise_seed = rng.integers(2**63)

    mean, std = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)) + 1e-6
    low = float(x.min())
    if use[0] < s.bias_probability:
        gain = np.exp(s.bias * _smooth_field(field, x.shape))
        x = (x - low) * gain + low
    if use[1] < s.gamma_probability:
        span = float(x.max()) - low + 1e-6
        gamma = np.float32(np.exp(s.gamma * log_gamma))
        x = np.power(np.maximum((x - low) / span, 0), gamma) * span + low
    if use[2] < s.contrast_probability:
        x = (x - mean) * (1 + s.contrast * contrast) + mean + s.brightness * brightness * std
    if use[3] < s.blur_probability:
        sigma = [0 if n == 1 else s.blur * width for n in x.shape]
        x = ndimage.gaussian_filter(x, sigma)
    if use[4] < s.noise_probability:
        noise = np.random.default_rng(noise_seed).standard_normal(x.shape, dtype=np.float32)
        x = x + noise * np.float32(s.noise * level * std)
    return x.astype(np.float32)


def _smooth_field(coefficients: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Product polynomial of degree 2 per axis in [-1, 1], scaled to a largest magnitude of 1."""
    axes = [
        np.linspace(-1, 1, n, dtype=np.float32) if n > 1 else np.zeros(1, np.float32) for n in shape
    ]
    powers = [np.stack([np.ones_like(a), a, a * a]).astype(np.float32) for a in axes]
    plane = (coefficients[..., None] * powers[2][None, None]).sum(axis=2)
    sheet = (plane[:, :, None, :] * powers[1][None, :, :, None]).sum(axis=1)
    field = (sheet[:, None] * powers[0][:, :, None, None]).sum(axis=0)
    return (field / max(float(np.abs(field).max()), 1e-6)).astype(np.float32)
