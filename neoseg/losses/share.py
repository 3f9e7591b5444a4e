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
    """How a weight grows from step `start` on: full after `steps` more.

    With t = (step - start) / steps limited to [0, 1]: sigmoid exp(-5 (1 - t)^2) (Laine & Aila
    2017), linear t, constant 1. Before `start` the factor is 0.
    """

    steps: int = Field(gt=0)
    shape: Literal["sigmoid", "linear", "constant"] = "sigmoid"
    start: int = Field(default=0, ge=0)

    def factor(self, step: int) -> float:
        """Return the share of the full weight at a step, in [0, 1]."""
        if step < self.start:
            return 0.0
        t = min((step - self.start) / self.steps, 1.0)
        if self.shape == "sigmoid":
            return math.exp(-5.0 * (1.0 - t) ** 2)
        return t if self.shape == "linear" else 1.0


class Share(Section):
    """The weight of a term in the sum, which may change with the step."""

    weight: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="of the term in the sum"
    )
    ramp: Ramp | None = Field(
        default=None,
        description="{steps, shape: sigmoid | linear | constant, start}: how the weight grows",
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
                lines.append(f"loss.{key}.{place} is {item['input']!r}: {item['msg']}{hint}")
            raise LossError("; ".join(lines)) from None
