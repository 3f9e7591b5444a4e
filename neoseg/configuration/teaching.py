"""Check that a run has the teacher, peer and initial network that it requires."""

from collections.abc import Sequence
from typing import Any

from neoseg.findings.settings import ConfigError
from neoseg.inference.model import chosen
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
    """Raise if a loss lacks its teacher, or if the network lacks dropout that a term relies on.

    Args:
        objective: loss of the run.
        teacher: settings of the teacher, if any.
        network: `conf/network` entry; None skips the check for dropout.
        patch_size: voxels along X, Y, Z.
        allow: packages whose classes may be used.

    Raises:
        ConfigError: no teacher.
        NetworkError: no dropout, though a term estimates the teacher's uncertainty with it.
    """
    terms = objective.terms.items()
    if teacher is None:
        teacher_terms = ", ".join(key for key, term in terms if term.needs_teacher)
        reason = f"and {teacher_terms} compares with one" if teacher_terms else "which a run keeps"
        raise ConfigError(f"teacher is not set, {reason}; choose teacher=ema")
    pass_terms = ", ".join(key for key, term in terms if term.needs_passes)
    if pass_terms and teacher.passes and network is not None:
        why = f"{pass_terms} asks how sure the teacher is, by passes with dropout"
        require_dropout(network, patch_size, allow, why)


def require_predictor(objective: Objective, teacher: TeacherSettings, choice: str) -> None:
    """Raise `ConfigError` if predictions need a teacher or peer that the loss does not have."""
    has_teacher = objective.needs_teacher or teacher.always
    there = ["student", *["teacher"] * has_teacher, *["peer"] * objective.needs_peer]
    try:
        chosen(choice, there)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def require_start(init: InitSettings, source: str | None, recipe: RecipeSettings | None) -> None:
    """Raise `ConfigError` if settings require an initial network, but `init_from` is null."""
    if source is not None:
        return
    if init != InitSettings():
        raise ConfigError(
            "init says how a network goes on from another one, and init_from is null; give "
            "init_from=RUN, or leave init away"
        )
    if recipe is not None and recipe.asks_source:
        raise ConfigError(
            f"recipe.teacher is {recipe.teacher}, the network that a run starts from, and "
            "init_from is null; give init_from=RUN"
        )
