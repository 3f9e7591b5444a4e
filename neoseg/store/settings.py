"""Settings of the preparation of scans."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from neoseg.capacity import Processes
from neoseg.findings.settings import ConfigError, Section
from neoseg.store.voxel_size import VoxelSize

Intensity = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


def _in_order(window: tuple[float, float]) -> tuple[float, float]:
    low, high = map(np.float32, window)
    if low >= high:
        raise ValueError(f"found {low:g} to {high:g}, expected the lower value first")
    return window


Window = Annotated[tuple[Intensity, Intensity], AfterValidator(_in_order)]
"""Lowest and highest intensity that is told apart, in the units of the images."""


class PrepareSettings(Section):
    """How scans are prepared; changing a setting creates new store entries, except `processes`."""

    normalise: Literal["zscore", "minmax", "percentile", "window"] = "zscore"
    window: Window | None = Field(
        default=None, description="of normalise=window, in the images' units (CT: Hounsfield units)"
    )
    spacing: VoxelSize | None = Field(
        default=None, description="mm; null: the voxel size that the cohort's scans have"
    )
    foreground: Literal["head", "mask"] = Field(
        default="head", description="what crop and brightness go by: bright voxels, the brain mask"
    )
    crop_margin: float | None = Field(
        default=4.0, ge=0, le=1000, description="mm; null keeps everything"
    )
    dtype: Literal["float16", "float32"] = "float16"
    locations: int = Field(default=2000, ge=1, description="voxels kept per label value and scan")
    processes: Processes | None = Field(
        default=None, exclude=True, description="that prepare scans or register atlases"
    )

    @model_validator(mode="after")
    def _check_window(self) -> PrepareSettings:
        if self.normalise == "window" and self.window is None:
            raise ConfigError(
                "store.normalise=window needs the window, in the units of the images: "
                "'store.window=[-160,240]' for the soft tissue of an abdomen on CT; neoseg.plan "
                "finds one by the labels, where neither key is given"
            )
        if self.normalise != "window" and self.window is not None:
            raise ConfigError(
                f"store.window={list(self.window)} is for store.normalise=window, and "
                f"store.normalise is {self.normalise}; set it to window, or store.window=null"
            )
        return self

    @property
    def shown(self) -> tuple[float, float] | None:
        """Prepared intensities that pictures show as black and white; None: as each has."""
        return None if self.window is None else (0.0, 1.0)

    @model_serializer(mode="wrap")
    def _without_unset_window(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a window that is not set, so that earlier entries keep their keys."""
        content: dict[str, Any] = handler(self)
        if self.window is None:
            del content["window"]
        return content
