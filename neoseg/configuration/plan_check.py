"""Checks of an annotation plan that need none of its scans to be prepared."""

import logging
from collections.abc import Sequence

from neoseg.cohort import Plan
from neoseg.cohort.folds import fold_of_each
from neoseg.doctor.cohort import known_sets, unknown_classes
from neoseg.findings.settings import ConfigError
from neoseg.labels import STREAMS
from neoseg.patches.dataset import PatchSettings
from neoseg.patches.streams import compose
from neoseg.store import DataError
from neoseg.training.recipe import RecipeSettings

log = logging.getLogger(__name__)


def check_plan(
    plan: Plan, patches: PatchSettings, validated: Sequence[str], recipe: RecipeSettings
) -> None:
    """Check that every batch can be filled with scans.

    Classes that no annotation labels are logged as warnings, unless another network labels scans.

    Args:
        plan: annotation plan of the run.
        patches: how batches are composed.
        validated: keys that are set and depend on the validation Dice.
        recipe: of the run; its parts are folds of the training subjects.

    Raises:
        DataError: no training scans, or a batch too small for its streams.
        ConfigError: keys that depend on the validation Dice, without validation scans.
        CohortError: fewer training subjects than folds.
    """
    pairs = [
        (item.stream, number)
        for number, source in enumerate(plan.sources)
        for _, item in source.of_split("train")
    ]
    if not pairs:
        raise DataError("no scan is left for training; check split, annotation and cohort")
    compose(
        [STREAMS.index(stream) for stream, _ in pairs],
        patches.batch_size,
        patches.mix,
        [number for _, number in pairs],
        [source.weight for source in plan.sources],
    )
    if validated and not any(source.of_split("val") for source in plan.sources):
        raise ConfigError(
            f"no scan is in val, and {' and '.join(validated)} cannot do without its Dice; give "
            "val some subjects (split, annotation.validation), or leave the keys at their defaults"
        )
    if recipe.parts:
        fold_of_each(plan, recipe.parts)
    if recipe.asks_source:
        return
    known = {leaves for source in plan.sources for leaves in known_sets(source)}
    for problem in unknown_classes(plan.space, known):
        log.warning("%s", problem)


def require_a_share(patches: PatchSettings) -> None:
    """Raise for invalid shares of a batch, unknown streams, or shares that are all 0.

    Whether the streams of a plan have scans is checked by `check_plan`.

    Raises:
        DataError: invalid shares or unknown streams.
        ConfigError: shares that are all 0.
    """
    if patches.mix is None:
        return
    compose([0], 1, {**patches.mix, "full": 1.0})  # checks names and values
    if not any(patches.mix.values()):
        raise ConfigError(
            f"patches.mix is {patches.mix}: every stream has the share 0, so nothing would be "
            "trained on"
        )
