"""Random augmentation of patches: geometry, contrast, intensities and artefacts."""

from neoseg.augment.settings import AugmentSettings

__all__ = ["AugmentSettings"]
