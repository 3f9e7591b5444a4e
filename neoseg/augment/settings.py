"""What a user writes in `conf/augment/*.yaml`."""

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

    The geometry comes first, then the contrast from the labels, the intensity, and TorchIO's
    transforms, in this order.
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
        """The classes of other packages that will be imported, as dotted paths."""
        return tuple(item.target for item in self.torchio if item.target is not None)

    def of_student(self, stream: str) -> AugmentSettings:
        """What the student sees of a stream of `neoseg.labels.STREAMS`."""
        if self.strong is None or stream == "full":
            return self
        return self.model_copy(update={"intensity": self.strong})

    @property
    def of_teacher(self) -> AugmentSettings:
        """What the teacher sees, whose geometry is that of the student."""
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
