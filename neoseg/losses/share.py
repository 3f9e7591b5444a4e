"""The part of an entry that belongs to the sum and not to its term: weight and ramp."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from neoseg.findings.nearest import nearest
from neoseg.findings.settings import Section
from neoseg.losses.registry import LossError


class Ramp(Section):
    """How a weight grows from `start` on: full after `share` more, both shares of the training.

    With t = (progress - start) / share limited to [0, 1]: sigmoid exp(-5 (1 - t)^2) (Laine & Aila
    2017), linear t, constant 1. Before `start` the factor is 0. Yu et al. 2019 take the whole
    training, Tarvainen & Valpola 2017 its first quarter.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    shape: Literal["sigmoid", "linear", "constant"] = "sigmoid"
    start: float = Field(default=0.0, ge=0, lt=1)

    def factor(self, progress: float) -> float:
        """Return the share of the full weight when `progress` (0 to 1) of the training is done."""
        if progress < self.start:
            return 0.0
        t = min((progress - self.start) / self.share, 1.0)
        if self.shape == "sigmoid":
            return math.exp(-5.0 * (1.0 - t) ** 2)
        return t if self.shape == "linear" else 1.0


class Share(Section):
    """The weight of a term in the sum, which may change while it trains."""

    weight: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="of the term in the sum"
    )
    ramp: Ramp | None = Field(
        default=None,
        description="{share, shape: sigmoid | linear | constant, start}: how the weight grows",
    )

    @classmethod
    def parse(cls, key: str, raw: Mapping[str, Any]) -> Share:
        """Check what stands in the entry `loss.<key>`; raises `LossError` for every mistake."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            lines = []
            for item in error.errors():
                place = ".".join(map(str, item["loc"]))
                hint = ""
                if item["type"] == "extra_forbidden":
                    hint = nearest(str(item["loc"][-1]), Ramp.model_fields)
                if place == "ramp.steps":
                    hint = (
                        "; a ramp is a share of the training, as in {share: 0.5}; a run that began "
                        "with steps can be segmented with, but not trained on"
                    )
                lines.append(f"loss.{key}.{place} is {item['input']!r}: {item['msg']}{hint}")
            raise LossError("; ".join(lines)) from None
