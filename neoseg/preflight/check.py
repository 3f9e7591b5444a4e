"""Checking a training's configuration before the cohort is read, and its plan before the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from neoseg.cohort import AnnotationSettings, CohortError, Plan, parse_settings
from neoseg.configuration.config import plain, settings_of
from neoseg.doctor.cohort import known_sets, unknown_classes
from neoseg.findings.settings import ConfigError, parse
from neoseg.inference import WindowSettings
from neoseg.labels import STREAMS, Codebook, LabelError, LabelSpace, LabelTable
from neoseg.losses import LossError, Objective
from neoseg.networks import NetworkError, check_network
from neoseg.patches import PatchSettings
from neoseg.patches.streams import compose
from neoseg.preflight.overrides import unset_keys
from neoseg.preflight.sections import unknown_keys, wrong_cohort, wrong_sections
from neoseg.store import DataError

log = logging.getLogger(__name__)

VALIDATED = ("early_stopping", "checkpoint.best")
"""Keys that look at the Dice of the validation scans."""

USER_ERRORS = (CohortError, ConfigError, DataError, LabelError, LossError, NetworkError)


def check_train(config: DictConfig) -> None:
    """Check what can be known to be wrong without data.

    Raises:
        ConfigError: with everything that was found.
    """
    unset = list(unset_keys(config))
    if unset:
        raise ConfigError(_listed(unset))
    found = list(dict.fromkeys(_findings(config)))
    if found:
        raise ConfigError(_listed(found))


def check_cohort(config: DictConfig, name: str) -> None:
    """Check the keys of a command that reads a cohort, and those of the cohort.

    Raises:
        ConfigError: with everything that was found.
    """
    found = [*unset_keys(config)] or [
        *unknown_keys(config, name),
        *wrong_cohort(plain(config.cohort)),
    ]
    if found:
        raise ConfigError(_listed(found))


def check_plan(config: DictConfig, annotated: Plan) -> None:
    """Check that every item of a batch has scans, before any of them is prepared.

    Classes that no annotation tells are logged as warnings.

    Raises:
        DataError: nothing to train on, or a batch too small for its streams.
        ConfigError: what looks at the validation, without scans for it.
    """
    pairs = [
        (item.stream, place)
        for place, source in enumerate(annotated.sources)
        for _, item in source.of_split("train")
    ]
    if not pairs:
        raise DataError("no scan is left for training; check split, annotation and cohort")
    patches = settings_of(PatchSettings, config, "patches")
    compose(
        [STREAMS.index(stream) for stream, _ in pairs],
        patches.batch_size,
        patches.mix,
        [place for _, place in pairs],
        [source.weight for source in annotated.sources],
    )
    if not any(source.of_split("val") for source in annotated.sources):
        wanted = [key for key in VALIDATED if OmegaConf.select(config, key)]
        if wanted:
            raise ConfigError(
                f"no scan is in val, and {' and '.join(wanted)} cannot do without its Dice; give "
                "val some subjects (split), or leave the keys at their defaults"
            )
    told = {leaves for source in annotated.sources for leaves in known_sets(source)}
    for problem in unknown_classes(annotated.space, told):
        log.warning("%s", problem)


def _listed(found: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    lines = "\n".join(f"  - {text}" for text in found)
    return f"the configuration has {len(found)} problems:\n{lines}"


def _findings(config: DictConfig) -> Iterator[str]:
    yield from unknown_keys(config, "train")
    wrong = [*wrong_sections(config), *wrong_cohort(plain(config.cohort))]
    yield from wrong
    yield from _too_few_subjects(config)
    try:
        space = LabelSpace.from_table(LabelTable.parse(plain(config.labels), "labels"))
    except LabelError as error:
        yield str(error)
        return
    # What goes by the patches has to wait until these are right.
    of_patches = () if any(text.startswith("patches") for text in wrong) else OF_PATCHES
    for check in (_annotation, _objective, *of_patches):
        try:
            yield from check(config, space)
        except USER_ERRORS as error:
            # What the settings of a part say about themselves stands there already.
            if not wrong or not str(error).startswith(("patches", "annotation", "window")):
                yield str(error)


def _annotation(config: DictConfig, space: LabelSpace) -> Iterator[str]:
    """A protocol of structures that the label table has."""
    settings = parse_settings(AnnotationSettings, plain(config.annotation), "annotation")
    settings.protocols(space)
    yield from ()


def _objective(config: DictConfig, space: LabelSpace) -> Iterator[str]:
    """Terms that exist, accept the head, and have the teacher that they compare with."""
    if config.get("loss") is None:
        yield "loss is not set; choose terms, as in 'loss=[iuc,known_dice]'"
        return
    objective = Objective(plain(config.loss), Codebook.build(space), str(config.head))
    if config.get("teacher") is None:
        needing = [key for key, term in objective.terms.items() if term.needs_teacher]
        what = f"and {', '.join(needing)} compares with one" if needing else "which a run keeps"
        yield f"teacher is not set, {what}; choose teacher=ema"
    elif config.predict_with == "teacher" and not (
        objective.needs_teacher or config.teacher.get("always")
    ):
        yield (
            "predict_with is teacher, and no term of the loss keeps one; add mean_teacher to the "
            "loss or set teacher.always=true"
        )
    if config.predict_with == "peer" and not objective.needs_peer:
        yield "predict_with is peer, and no term of the loss trains one; add cross_pseudo"


def _network(config: DictConfig, space: LabelSpace) -> Iterator[str]:
    """A network whose class has the settings, and a patch that its strides divide."""
    if config.get("network") is None:
        yield "network is not set; choose one of conf/network"
        return
    check_network(plain(config.network), plain(config.patches)["size"])


def _window(config: DictConfig, space: LabelSpace) -> Iterator[str]:
    raw = {**plain(config.window), "patch_size": plain(config.patches)["size"]}
    parse(WindowSettings, raw, "window")
    yield from ()


def _streams(config: DictConfig, space: LabelSpace) -> Iterator[str]:
    """Shares of a batch for streams that there are, not all of them 0; see also `check_plan`."""
    mix = plain(config.patches).get("mix")
    if not isinstance(mix, dict):
        return
    compose([0], 1, {**mix, "full": 1.0})  # the names and that they are shares
    if not any(mix.values()):
        yield f"patches.mix is {mix}: every stream has the share 0, so nothing would be trained on"


OF_PATCHES = _network, _window, _streams


def _too_few_subjects(config: DictConfig) -> Iterator[str]:
    """At least a subject for each part of the split."""
    cohort, split = plain(config.cohort), plain(config.split)
    fractions = split.get("fractions")
    if split.get("file") is not None or not isinstance(fractions, list):
        return
    parts = sum(isinstance(f, int | float) and f > 0 for f in fractions)
    limits = {"cohort.max_subjects": cohort.get("max_subjects")}
    if isinstance(cohort.get("phantom"), dict):
        limits["cohort.phantom.subjects"] = cohort["phantom"].get("subjects")
    if isinstance(cohort.get("subjects"), list):
        limits["cohort.subjects"] = len(cohort["subjects"])
    for key, number in limits.items():
        if isinstance(number, int) and number < parts:
            yield (
                f"{key} allows {number} subjects, and split.fractions {fractions} asks for {parts} "
                "parts; add subjects, or set the fraction of a part to 0"
            )
