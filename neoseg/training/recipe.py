"""Recipes: which trainings a run consists of, in which order, and where each of them lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

STAGES = "stages"
DONE = "done.json"
PSEUDO = "codes"


class RecipeSettings(BaseModel):
    """What a user writes in `conf/recipe/*.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["single", "pseudo_label"]
    teacher: Literal["full", "partial"] = Field(
        default="full", description="labels of the first training: full scans alone, or all"
    )
    rounds: int = Field(default=1, ge=1, description="predictions with a training on them")
    epochs: int | None = Field(
        default=None, ge=1, description="of each training after the first; null as the first"
    )
    min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="less confident voxels keep their annotation"
    )

    @model_validator(mode="after")
    def _single_has_no_options(self) -> RecipeSettings:
        extra = sorted(self.model_fields_set - {"kind"})
        if self.kind == "single" and extra:
            raise ValueError(f"recipe single has no {', '.join(extra)}; use recipe=pseudo_label")
        return self


@dataclass(frozen=True)
class Stage:
    """One training of a run.

    The last stage lies in the run folder itself, so that a run with any recipe is read alike; the
    earlier ones in `stages/1`, `stages/2`, ...

    Attributes:
        number: from 1.
        last: whether the run ends with it.
        data: "full": the fully labelled training scans alone; "all": every one of the plan.
        epochs: of this stage; None is as many as the trainer is told.
        predicts: whether it starts with pseudo-labels of the stage before, and its weights.
    """

    number: int
    last: bool
    data: Literal["full", "all"]
    epochs: int | None
    predicts: bool

    def folder(self, run: Path) -> Path:
        """Return where checkpoints and curves of the stage lie."""
        return run if self.last else run / STAGES / str(self.number)

    def marker(self, run: Path) -> Path:
        """Return the file that tells that an earlier stage has ended."""
        return run / STAGES / str(self.number) / DONE

    def pseudo_labels(self, run: Path) -> Path | None:
        """Return where the codes lie with which the stage trains."""
        return run / STAGES / str(self.number) / PSEUDO if self.predicts else None

    def first_step(self, steps_per_epoch: int) -> int:
        """Return where the stage starts in the stream of patches.

        Far behind all steps of the stage before, so that no patch comes twice, and independent of
        how long that was.
        """
        return (self.number - 1) * 1_000_000 * steps_per_epoch


def stages_of(settings: RecipeSettings) -> tuple[Stage, ...]:
    """Return the stages of a recipe.

    *single*: one training on everything. *pseudo_label*: a training on the fully labelled scans
    (the paper's semi-supervised baseline) or on all labels, then `rounds` times: predict what the
    annotations leave open, train on from the same weights on everything.
    """
    if settings.kind == "single":
        return (Stage(1, True, "all", None, False),)
    first = Stage(1, False, "full" if settings.teacher == "full" else "all", None, False)
    later = tuple(
        Stage(number, number == settings.rounds + 1, "all", settings.epochs, True)
        for number in range(2, settings.rounds + 2)
    )
    return (first, *later)
