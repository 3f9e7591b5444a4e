"""Settings in `conf/augment/*.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from neoseg.augment.intensity import IntensitySettings
from neoseg.augment.label_contrast import LabelContrastSettings
from neoseg.augment.torchio_transforms import TorchioTransform
from neoseg.augment.warp import SpatialSettings
from neoseg.findings.settings import Section


class AugmentSettings(Section):
    """Random changes of a patch; null, or a probability of 0, switches a part off.

    They are applied in this order: geometry, contrast from the labels, intensity, TorchIO's
    transforms.
    """

    spatial: SpatialSettings | None = None
    label_contrast: LabelContrastSettings | None = None
    intensity: IntensitySettings | None = None
    torchio: tuple[TorchioTransform, ...] = ()
    device: Literal["loader", "accelerator"] = Field(
        default="loader", description="where label_contrast and intensity are computed"
    )
    teacher: Literal["same"] | IntensitySettings | None = Field(
        default="same", description="of the teacher's images; same: as the student's, drawn anew"
    )

    strong: IntensitySettings | None = Field(
        default=None,
        description="intensity of the student's images that are not fully labelled; null: the same",
    )

    @field_validator("device")
    @classmethod
    def _torchio_runs_in_the_loader(cls, device: str, info: ValidationInfo) -> str:
        if device != "loader" and info.data.get("torchio"):
            raise ValueError(
                "TorchIO's transforms run in the loader processes, after all others; use "
                "augment.device=loader or augment.torchio=[]"
            )
        return device

    @property
    def targets(self) -> tuple[str, ...]:
        """Dotted paths of the classes of other packages that will be imported."""
        return tuple(item.target for item in self.torchio if item.target is not None)

    def of_student(self, stream: str) -> AugmentSettings:
        """Return the settings of the student for a stream of `neoseg.labels.STREAMS`."""
        if self.strong is None or stream == "full":
            return self
        return self.model_copy(update={"intensity": self.strong})

    @property
    def of_teacher(self) -> AugmentSettings:
        """Settings of the teacher, which uses the student's geometry."""
        if self.teacher == "same":
            return self
        return AugmentSettings(intensity=self.teacher, device=self.device)

    @property
    def changes_intensities(self) -> bool:
        """Whether two appearances of a patch can differ at all."""
        redrawn = self.label_contrast
        return (
            (redrawn is not None and redrawn.probability > 0)
            or any(part is not None and part.changes for part in (self.intensity, self.strong))
            or any(transform.p > 0 for transform in self.torchio)
        )
