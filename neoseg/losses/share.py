"""Settings of an entry that belong to the sum rather than to the term: weight and ramp."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from neoseg.findings.nearest import nearest
from neoseg.findings.settings import Section
from neoseg.losses.registry import LossError


class Ramp(Section):
    """Growth of a weight from `start`, to its full value a further `share` of the training later.

    Both are fractions of the training. With t = (progress - start) / share clipped to [0, 1], the
    factor is exp(-5 (1 - t)^2) for "sigmoid" (Laine & Aila 2017), t for "linear", and 1 for
    "constant"; before `start` it is 0. Yu et al. 2019 ramp up during the whole training, Tarvainen
    & Valpola 2017 during its first quarter.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    shape: Literal["sigmoid", "linear", "constant"] = "sigmoid"
    start: float = Field(default=0.0, ge=0, lt=1)

    def factor(self, progress: float) -> float:
        """Return the factor of the weight after a fraction `progress` (0 to 1) of the training."""
        if progress < self.start:
            return 0.0
        t = min((progress - self.start) / self.share, 1.0)
        if self.shape == "sigmoid":
            return math.exp(-5.0 * (1.0 - t) ** 2)
        return t if self.shape == "linear" else 1.0


class Share(Section):
    """Weight of a term in the sum, which may change during training."""

    weight: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="of the term in the sum"
    )
    ramp: Ramp | None = Field(
        default=None,
        description="{share, shape: sigmoid | linear | constant, start}: how the weight grows",
    )

    @classmethod
    def parse(cls, key: str, raw: Mapping[str, Any]) -> Share:
        """Validate the entry `loss.<key>`; raises `LossError` that lists every mistake."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            lines = []
            for item in error.errors():
                path = ".".join(map(str, item["loc"]))
                hint = ""
                if item["type"] == "extra_forbidden":
                    hint = nearest(str(item["loc"][-1]), Ramp.model_fields)
                if path == "ramp.steps":
                    hint = (
                        "; a ramp is a share of the training, as in {share: 0.5}; a run that began "
                        "with steps can be segmented with, but not trained on"
                    )
                lines.append(f"loss.{key}.{path} is {item['input']!r}: {item['msg']}{hint}")
            raise LossError("; ".join(lines)) from None
