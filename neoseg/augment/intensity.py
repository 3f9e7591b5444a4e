"""Random intensity changes of one patch: what differs between scanners, ages and sessions.

Drawing (NumPy, a function of its generator) is separate from applying (torch, on any device), so
that a loader process and an accelerator produce the same patch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from neoseg.accelerator import sent
from neoseg.augment.artefact import Ghosting, Motion, Spike
from neoseg.augment.axis import NONE, Matrices, along, apply, combine, gaussian, slices
from neoseg.augment.patch_map import Triple
from neoseg.findings.settings import Section


class IntensitySettings(Section):
    """Strengths and probabilities; a probability of zero switches a part off.

    Strengths that add to intensities are in units of the patch's standard deviation, so that they
    mean the same for every normalisation of scans.
    """

    bias: float = Field(default=0.3, ge=0, description="largest log gain of a smooth bias field")
    bias_probability: float = Field(default=0.5, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, description="std of log gamma")
    gamma_probability: float = Field(default=0.5, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, description="contrast factor 1 +- this")
    brightness: float = Field(default=0.2, ge=0, description="shift, +- standard deviations")
    contrast_probability: float = Field(default=0.5, ge=0, le=1)
    blur: float = Field(default=0.8, ge=0, le=20, description="largest Gaussian width in voxels")
    blur_probability: float = Field(default=0.15, ge=0, le=1)
    noise: float = Field(default=0.15, ge=0, description="largest noise, standard deviations")
    noise_probability: float = Field(default=0.3, ge=0, le=1)
    low_resolution: float = Field(default=2.0, ge=1, description="largest voxel size, voxels")
    low_resolution_probability: float = Field(default=0.0, ge=0, le=1)
    thick_slices: float = Field(default=4.0, ge=1, description="largest thickness, voxels")
    thick_slices_probability: float = Field(default=0.0, ge=0, le=1)
    ghosting: float = Field(default=0.4, ge=0, le=1, description="largest loss of weak lines")
    ghosting_probability: float = Field(default=0.0, ge=0, le=1)
    motion: float = Field(default=3.0, ge=0, description="largest shift (voxels), turn (degrees)")
    motion_probability: float = Field(default=0.0, ge=0, le=1)
    spike: float = Field(default=0.3, ge=0, description="largest height, standard deviations")
    spike_probability: float = Field(default=0.0, ge=0, le=1)

    @property
    def changes(self) -> bool:
        """Whether any part can be drawn."""
        names = (name for name in type(self).model_fields if name.endswith("_probability"))
        return any(getattr(self, name) > 0 for name in names)

    @property
    def draws_more(self) -> bool:
        """Whether resolution or artefacts can change at all."""
        artefacts = self.motion_probability, self.ghosting_probability, self.spike_probability
        return any((self.low_resolution_probability, self.thick_slices_probability, *artefacts))


@dataclass(frozen=True)
class Intensity:
    """Changes drawn for one channel; None for a part that was not drawn.

    Attributes:
        motion: another pose of the head in some lines of k-space.
        bias: coefficients `[3, 3, 3]` of a polynomial, and its largest magnitude as a log gain.
        gamma: exponent.
        contrast: factor about the mean, and shift in standard deviations.
        matrices: blur, coarse voxels, thick slices and ghosts.
        spike: a plane wave.
        noise: level in standard deviations, and the seed of its generator.
        parts: names of the drawn parts, in the order in which they are applied.
    """

    motion: Motion | None = None
    bias: tuple[np.ndarray, float] | None = None
    gamma: float | None = None
    contrast: tuple[float, float] | None = None
    matrices: Matrices = NONE
    spike: Spike | None = None
    noise: tuple[float, int] | None = None
    parts: tuple[str, ...] = ()

    @property
    def needs_statistics(self) -> bool:
        """Whether mean and standard deviation of the patch are used."""
        return self.contrast is not None or self.spike is not None or self.noise is not None

    def apply(self, x: Tensor, mean: float, deviation: float) -> Tensor:
        """Return a changed copy of `x` (float32 `[X, Y, Z]`).

        `mean` and `deviation` are those of the patch as it was cut: computed beforehand, they do
        not depend on the device. Minimum and maximum are exact on all devices and computed here.
        """
        x = x.clone() if self.motion is None else self.motion.apply(x)
        if self.bias is not None:
            low = x.amin()
            field = _smooth_field(*self.bias, x)
            x.sub_(low).mul_(field.exp_()).add_(low)
        if self.gamma is not None:
            low, high = torch.aminmax(x)
            span = high - low + 1e-6
            x.sub_(low).div_(span).clamp_(min=0).pow_(self.gamma).mul_(span).add_(low)
        if self.contrast is not None:
            factor, shift = self.contrast
            x.mul_(factor).add_(mean * (1 - factor) + shift * deviation)
        x = apply(x, self.matrices)
        if self.spike is not None:
            self.spike.add_to(x, deviation)
        if self.noise is not None:
            level, seed = self.noise
            generator = torch.Generator(x.device).manual_seed(seed)
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            x.add_(noise, alpha=level * deviation)
        return x


def draw_intensity(
    settings: IntensitySettings, rng: np.random.Generator, extra: np.random.Generator, size: Triple
) -> Intensity:
    """Draw the changes of one channel of a patch.

    Every number is drawn whether or not it is used, so that switching one part off does not change
    the others. `extra` is a second generator for resolution and artefacts, so that adding those
    does not change the rest.
    """
    s = settings
    use = rng.random(5)
    field = rng.uniform(-1, 1, (3, 3, 3))
    log_gamma, contrast, brightness = rng.normal(), rng.uniform(-1, 1), rng.uniform(-1, 1)
    width, level = rng.uniform(0.3, 1), rng.uniform(0, 1)
    noise_seed = int(rng.integers(2**63))

    # In physical order: the head moves, the scanner blurs, its lines are weakened.
    drawn: More = _draw_more(s, extra, size) if s.draws_more else (None, [], None, [])
    motion, extra_matrices, spike, extra_parts = drawn
    parts, matrices = [], NONE
    if use[3] < s.blur_probability:
        parts.append("blur")
        for axis in range(3):
            if size[axis] > 1:
                matrices = combine(matrices, along(axis, gaussian(size[axis], s.blur * width)))
    for changes in extra_matrices:
        matrices = combine(matrices, changes)
    has_bias, has_gamma = use[0] < s.bias_probability, use[1] < s.gamma_probability
    has_contrast, has_noise = use[2] < s.contrast_probability, use[4] < s.noise_probability
    before = {
        "motion": motion is not None,
        "bias field": has_bias,
        "gamma": has_gamma,
        "contrast": has_contrast,
    }
    after = {"spike": spike is not None, "noise": has_noise}
    return Intensity(
        motion=motion,
        bias=(field, s.bias) if has_bias else None,
        gamma=float(np.exp(s.gamma * log_gamma)) if has_gamma else None,
        contrast=(1 + s.contrast * contrast, s.brightness * brightness) if has_contrast else None,
        matrices=matrices,
        spike=spike,
        noise=(s.noise * level, noise_seed) if has_noise else None,
        parts=(
            *(name for name, used in before.items() if used),
            *parts,
            *extra_parts,
            *(name for name, used in after.items() if used),
        ),
    )


More = tuple[Motion | None, list[Matrices], Spike | None, list[str]]
"""Resolution and artefacts of one draw; the last item names the matrices' changes, in order."""


def _draw_more(s: IntensitySettings, rng: np.random.Generator, size: Triple) -> More:
    use = rng.random(5)
    motion = Motion.draw(rng, size, s.motion)
    voxel, thickness = (
        1 + rng.random() * (most - 1) for most in (s.low_resolution, s.thick_slices)
    )
    phases, choice = rng.random(4), rng.random()
    ghost = Ghosting.draw(rng, size, s.ghosting)
    spike = Spike.draw(rng, size, s.spike)
    thick = [axis for axis in range(3) if size[axis] > 1]
    parts, matrices = [], []
    if use[1] < s.low_resolution_probability:
        parts.append("low resolution")
        matrices += [along(axis, slices(size[axis], voxel, phases[axis])) for axis in thick]
    if use[2] < s.thick_slices_probability and thick:
        parts.append("thick slices")
        axis = thick[int(choice * len(thick))]
        matrices.append(along(axis, slices(size[axis], thickness, phases[3])))
    if use[3] < s.ghosting_probability:
        parts.append("ghosting")
        matrices.append(ghost.matrices(size))
    return (
        motion if use[0] < s.motion_probability else None,
        matrices,
        spike if use[4] < s.spike_probability else None,
        parts,
    )


def _smooth_field(coefficients: np.ndarray, largest: float, like: Tensor) -> Tensor:
    """Return a product polynomial of degree 2 per axis, scaled to a magnitude of `largest`."""
    powers = []
    for n in like.shape:
        line = torch.linspace(-1, 1, n, device=like.device) * (n > 1)
        powers.append(torch.stack([torch.ones_like(line), line, line * line], 1))
    terms = sent(torch.from_numpy(coefficients.astype(np.float32)), like.device)
    sheet = powers[1] @ (terms @ powers[2].T)
    field = (powers[0] @ sheet.flatten(1)).view(like.shape)
    low, high = torch.aminmax(field)
    return field.mul_(largest / torch.maximum(-low, high).clamp_(min=1e-6))
