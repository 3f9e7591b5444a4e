"""Whether a run has the teachers, peers and older networks that it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neoseg.findings.settings import ConfigError
from neoseg.losses import Objective
from neoseg.networks.dropout import require_dropout
from neoseg.training.parts import InitSettings
from neoseg.training.recipe import RecipeSettings
from neoseg.training.teacher import TeacherSettings


def require_teacher(
    objective: Objective,
    teacher: TeacherSettings | None,
    network: dict[str, Any] | None,
    patch_size: Sequence[int],
    allow: Sequence[str],
) -> None:
    """Raise `ConfigError` for a loss without the teacher that it needs, or a network without the
    dropout that the teacher's doubt comes of (None: a network that is not known).
    """
    terms = objective.terms.items()
    if teacher is None:
        needing = ", ".join(key for key, term in terms if term.needs_teacher)
        what = f"and {needing} compares with one" if needing else "which a run keeps"
        raise ConfigError(f"teacher is not set, {what}; choose teacher=ema")
    asking = ", ".join(key for key, term in terms if term.needs_passes)
    if asking and teacher.passes and network is not None:
        why = f"{asking} asks how sure the teacher is, by passes with dropout"
        require_dropout(network, patch_size, allow, why)


def require_predictor(objective: Objective, teacher: TeacherSettings, choice: str) -> None:
    """Raise `ConfigError` for a network that is to predict and that no term keeps."""
    if choice == "teacher" and not (objective.needs_teacher or teacher.always):
        raise ConfigError(
            "predict_with is teacher, and no term of the loss keeps one; add mean_teacher to the "
            "loss or set teacher.always=true"
        )
    if choice == "peer" and not objective.needs_peer:
        raise ConfigError(
            "predict_with is peer, and no term of the loss trains one; add cross_pseudo"
        )


def require_start(init: InitSettings, source: str | None, recipe: RecipeSettings | None) -> None:
    """Raise `ConfigError` for a run that asks for a network to start from and names none."""
    if source is not None:
        return
    if init != InitSettings():
        raise ConfigError(
            "init says how a network goes on from another one, and init_from is null; give "
            "init_from=RUN, or leave init away"
        )
    if recipe is not None and recipe.teacher == "source":
        raise ConfigError(
            "recipe.teacher is source, the network that a run starts from, and init_from is null; "
            "give init_from=RUN"
        )
