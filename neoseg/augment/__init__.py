"""Random changes of a patch: where its voxels lie, its contrast, intensities and artefacts."""

from neoseg.augment.settings import AugmentSettings

__all__ = ["AugmentSettings"]
