"""Contrast redrawn from the label map (after Billot et al., Medical Image Analysis 2023, SynthSeg).

Newborn contrast reverses within weeks and differs between T1w and T2w. Here structures that the
annotation determines get new intensities. Where it leaves several structures open, and in the
background, the image keeps its own texture, transformed monotonically: painting a merged region
with one value would erase the very borders that its labels do not show. Only codes after the
protocol are used, so nothing that a protocol hides can leak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from neoseg.accelerator import sent
from neoseg.augment.axis import Matrices, apply, gaussian
from neoseg.augment.patch_map import Triple
from neoseg.findings.settings import Section
from neoseg.labels import Codebook, LabelSet


class LabelContrastSettings(Section):
    """Settings under `augment.label_contrast`."""

    probability: float = Field(default=0.0, ge=0, le=1, description="of a redrawn patch")
    groups: tuple[str, ...] | None = Field(
        default=None, description="classes whose leaves look alike; null: each leaf by itself"
    )
    spread: float = Field(default=1.5, ge=0, description="of the means, +- standard deviations")
    noise: float = Field(default=0.2, ge=0, description="largest within a group, deviations")
    keep: float = Field(default=0.3, ge=0, le=1, description="largest share of the image's own")
    gamma: float = Field(default=0.4, ge=0, description="std of log gamma of the texture")
    invert: float = Field(default=0.0, ge=0, le=1, description="probability of dark for bright")
    partial_volume: float = Field(
        default=0.8, ge=0, le=10, description="largest blur of borders, voxels"
    )


@dataclass(frozen=True)
class Groups:
    """Codes that are redrawn together: `of_code` int64 `[R]`, -1 keeps the image's texture."""

    of_code: np.ndarray
    number: int

    @classmethod
    def of(cls, settings: LabelContrastSettings, codebook: Codebook) -> Groups:
        """Assign each code whose label set lies within a group to that group.

        Without `settings.groups`, left and right of a structure form one group.

        Raises:
            LabelError: a group that the label table does not have, with the nearest names.
        """
        space = codebook.space
        groups: list[LabelSet]
        if settings.groups is None:
            single = [frozenset([leaf]) for leaf in range(space.num_leaves)]
            groups = list(dict.fromkeys(leaves | space.mirrored(leaves) for leaves in single))
        else:
            groups = [space.label_set(name) for name in settings.groups]
        codes = [
            next((n for n, group in enumerate(groups) if leaves <= group), -1)
            if space.background not in leaves
            else -1
            for leaves in codebook.sets
        ]
        return cls(np.array(codes), len(groups))


@dataclass(frozen=True)
class LabelContrast:
    """Contrast drawn for one channel.

    Attributes:
        mean, noise: `[R]` per code, in standard deviations of the patch, `mean` about its mean; NaN
            keeps the texture.
        keep: fraction of the texture in redrawn structures.
        gamma: exponent applied to the texture.
        inverted: whether bright and dark are swapped in the texture.
        matrices: blur of the borders.
        seed: of the noise.
    """

    mean: np.ndarray
    noise: np.ndarray
    keep: float
    gamma: float
    inverted: bool
    matrices: Matrices
    seed: int

    def apply(self, x: Tensor, codes: Tensor, mean: float, deviation: float) -> Tensor:
        """Return a redrawn copy of `x` (float32 `[X, Y, Z]`) with codes uint8 of that shape.

        `mean` and `deviation` are those of the patch.
        """
        low, high = torch.aminmax(x)
        span = high - low + 1e-6
        texture = (x - low).div_(span).clamp_(0, 1)
        if self.inverted:
            texture.neg_().add_(1)
        texture.pow_(self.gamma).mul_(span).add_(low)

        def look_up(table: np.ndarray) -> Tensor:
            rows = sent(torch.from_numpy(table.astype(np.float32)), x.device)
            return rows[codes.long()]

        mask = look_up(~np.isnan(self.mean))
        painted = look_up(np.nan_to_num(self.mean)).mul_(deviation).add_(mean)
        noise = np.nan_to_num(self.noise)
        if noise.any():
            generator = torch.Generator(x.device).manual_seed(self.seed)
            grain = torch.randn(x.shape, generator=generator, device=x.device)
            painted.addcmul_(look_up(noise), grain, value=deviation)
        painted.lerp_(texture, self.keep)
        # Both get the same blur, so that a border mixes the values on its two sides.
        painted, mask = (apply(volume, self.matrices) for volume in (painted * mask, mask))
        return painted.add_(texture.mul_(1 - mask))


def draw_label_contrast(
    settings: LabelContrastSettings, groups: Groups, rng: np.random.Generator, size: Triple
) -> LabelContrast | None:
    """Draw new intensities for one channel; return None if the patch keeps its contrast."""
    s = settings
    used = rng.random() < s.probability
    means = rng.uniform(-1, 1, groups.number) * s.spread
    noises = rng.uniform(0, 1, groups.number) * s.noise
    keep, invert, width = rng.random(3)
    gamma, seed = float(np.exp(s.gamma * rng.normal())), int(rng.integers(2**63))
    if not used:
        return None
    mean, noise = (np.append(values, np.nan)[groups.of_code] for values in (means, noises))
    return LabelContrast(
        mean=mean,
        noise=noise,
        keep=s.keep * float(keep),
        gamma=gamma,
        inverted=bool(invert < s.invert),
        matrices=_blur(size, s.partial_volume * (0.3 + 0.7 * float(width))),
        seed=seed,
    )


def _blur(size: Triple, width: float) -> Matrices:
    x, y, z = (gaussian(n, width) if n > 1 else None for n in size)
    return x, y, z
