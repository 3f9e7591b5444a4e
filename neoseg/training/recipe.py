"""Recipes: the stages (trainings) of a run, their order and their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from neoseg.findings.settings import Section

STAGES = "stages"
DONE = "done.json"
PSEUDO = "codes"

OPTIONS = {
    "single": frozenset[str](),
    "pseudo_label": frozenset(
        {"teacher", "atlases", "intensities", "rounds", "ensemble", "epochs", "min_confidence"}
    ),
    "folds": frozenset({"folds", "draw", "epochs"}),
}
"""Settings that apply to each kind of recipe."""


class RecipeSettings(Section):
    """Settings in `conf/recipe/*.yaml`."""

    kind: Literal["single", "pseudo_label", "folds"]
    teacher: Literal["full", "partial", "atlas", "source", "source_atlas"] = Field(
        default="full",
        description="who labels first: a network trained on full scans alone, or on all; or the "
        "full scans themselves, registered onto the others; or the network of init_from; or that "
        "network and, inside the label sets that it leaves, the registered scans",
    )
    atlases: int = Field(default=5, ge=1, description="full scans that are registered onto a scan")
    intensities: bool = Field(
        default=False, description="whether brightness decides along with the votes of atlases"
    )
    rounds: int = Field(default=1, ge=1, description="predictions with a training on them")
    ensemble: int = Field(
        default=1, ge=1, description="networks of each training but the last, averaged to predict"
    )
    folds: int = Field(default=5, ge=2, description="parts of the training subjects; kind=folds")
    draw: int = Field(default=0, ge=0, description="who is in which part; kind=folds")
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="of each training after the first, or without a fold; null as the other",
    )
    min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="less confident voxels keep their annotation"
    )

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> RecipeSettings:
        extra = sorted(self.model_fields_set - OPTIONS[self.kind] - {"kind"})
        if extra:
            kinds = " or ".join(k for k, own in OPTIONS.items() if own >= set(extra)) or "another"
            raise ValueError(f"recipe {self.kind} has no {', '.join(extra)}; use recipe={kinds}")
        if self.labels_first and self.rounds == 1 and self.ensemble > 1:
            raise ValueError("an ensemble predicts for a next round; raise recipe.rounds to 2")
        return self

    @property
    def parts(self) -> int:
        """Number of parts into which training subjects are divided; 0 without folds."""
        return self.folds if self.kind == "folds" else 0

    @property
    def labels_first(self) -> bool:
        """Whether pseudo-labels are made before the first training."""
        return self.teacher == "atlas" or self.asks_source

    @property
    def asks_source(self) -> bool:
        """Whether the network of `init_from` makes the first pseudo-labels."""
        return self.teacher in ("source", "source_atlas")


@dataclass(frozen=True)
class Stage:
    """One training of a run.

    The last stage is stored in the run folder itself, so that runs of all recipes are read alike;
    earlier stages are in `stages/1`, `stages/2`, ...

    Attributes:
        number: from 1.
        last: whether it is the final training of the run.
        data: "full": only the fully labelled training scans; "all": all training scans of the plan.
        epochs: of this stage; None: as configured for the trainer.
        predicts: whether it starts with pseudo-labels, made by the networks of the previous stage,
            from whose weights it starts; or, in the first stage, by atlases or by the network that
            the run starts from.
        member: index in an ensemble of networks, from 0; each member has a stage of its own.
        fold: index of the held-out part of the training subjects, from 0; None trains on all.
    """

    number: int
    last: bool
    data: Literal["full", "all"]
    epochs: int | None
    predicts: bool
    member: int = 0
    fold: int | None = None

    @property
    def name(self) -> str:
        """Folder name of an earlier stage: "1" is followed by "1-2", "1-3", ..."""
        return f"{self.number}-{self.member + 1}" if self.member else str(self.number)

    def folder(self, run: Path) -> Path:
        """Return the folder of the stage's checkpoints and curves."""
        return run if self.last else run / STAGES / self.name

    def marker(self, run: Path) -> Path:
        """Return the file that marks an earlier stage as finished."""
        return run / STAGES / self.name / DONE

    def pseudo_labels(self, run: Path) -> Path | None:
        """Return the folder of the pseudo-labels used in training; shared by an ensemble."""
        return run / STAGES / str(self.number) / PSEUDO if self.predicts else None

    def initial_seed(self, seed: int) -> int:
        """Return the seed of the initial weights, different for each member of an ensemble."""
        if not self.member:
            return seed
        return int(np.random.SeedSequence([seed, self.member]).generate_state(1)[0])

    def first_step(self, steps_per_epoch: int) -> int:
        """Return the position in the patch stream at which the stage starts.

        It is beyond all steps of the previous stage, so that no patch is repeated, and independent
        of that stage's length; each member of an ensemble has a range of its own.
        """
        return (self.number - 1 + 1000 * self.member) * 1_000_000 * steps_per_epoch


def stages_of(settings: RecipeSettings) -> tuple[Stage, ...]:
    """Return the stages of a recipe, in order.

    *single*: one training on everything. *pseudo_label*: a training on the fully labelled scans
    (the paper's semi-supervised baseline) or on all labels, then `rounds` times: predict what the
    annotations leave open, and continue training from the same weights on everything. With
    `teacher=atlas` the first prediction is made by registration, with `teacher=source` by the
    network of `init_from`, with `teacher=source_atlas` by both; no training precedes it. All
    trainings but the last are done by `ensemble` networks, whose mean probabilities predict; each
    continues from its own weights, the last training from those of the first network. *folds*: a
    training without each part of the training subjects, then the run's own on all of them.
    """
    if settings.kind != "pseudo_label":
        numbers = range(settings.parts)
        folds = [Stage(n + 1, False, "all", settings.epochs, False, fold=n) for n in numbers]
        return (*folds, Stage(len(folds) + 1, True, "all", None, False))
    last = settings.rounds + (not settings.labels_first)
    data: Literal["full", "all"] = "full" if settings.teacher == "full" else "all"
    stages = []
    for number in range(1, last + 1):
        predicts = number > 1 or settings.labels_first
        for member in range(settings.ensemble if number < last else 1):
            epochs = settings.epochs if number > 1 else None
            scans = data if number == 1 else "all"
            stages.append(Stage(number, number == last, scans, epochs, predicts, member))
    return tuple(stages)


def before(stage: Stage, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages whose networks predict for a stage, in the order of their members."""
    return tuple(item for item in stages if stage.predicts and item.number == stage.number - 1)
