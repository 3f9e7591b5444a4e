"""Builds the parts of a run from its configuration; the commands share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from neoseg.augment import AugmentSettings
from neoseg.cohort import (
    AnnotationSettings,
    Cohort,
    MissingModality,
    OnError,
    Plan,
    Split,
    SplitSettings,
    parse_settings,
    split_cohort,
    with_modalities,
)
from neoseg.configuration.config import plain, settings_of
from neoseg.configuration.extra_cohorts import KEY, extra_sources, source_of
from neoseg.doctor import without_bad_scans
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelSpace, LabelTable
from neoseg.losses import LossError
from neoseg.networks import NetworkError
from neoseg.patches import PatchSettings
from neoseg.patches.datamodule import MixedDataModule
from neoseg.progress import progress_bar
from neoseg.store import PrepareSettings, Store
from neoseg.targets import COHORT_TARGETS, TargetError, is_reader, require_targets
from neoseg.training import SegmentationModule, plain_label_sets

SHARED = ("paths", "store", "on_error")
"""Keys that a run's further cohorts are read with as well."""


def space_of(config: DictConfig) -> LabelSpace:
    """Return the label space."""
    return LabelSpace.from_table(LabelTable.parse(plain(config.labels), "labels"))


def cohort_of(
    config: DictConfig,
    space: LabelSpace,
    progress: Callable[[int, int], None] | None = None,
    on_error: OnError = "stop",
) -> Cohort:
    """Read the cohort (generating the phantom where it is missing).

    Scans that lack a modality are treated as `missing_modality` says; `on_error` is that of the
    readers, which look at names and tables alone.

    Raises:
        ConfigError: a target that is not one of neoseg's readers, or options that it lacks.
        CohortError: what is wrong with the data.
    """
    raw = plain(config.cohort)
    target = str(raw.get("_target_", ""))
    try:
        if not target:
            raise TargetError("it has no _target_")
        require_targets(raw, COHORT_TARGETS, is_reader, "reader")
    except TargetError as error:
        raise ConfigError(
            f"cohort cannot be read: {error}; choose one of conf/cohort with cohort=<name>"
        ) from None
    extra: dict[str, Any] = {"progress": progress} if target.endswith("read_phantom") else {}
    if on_error != "stop":
        extra["on_error"] = on_error
    try:
        # In two steps: Hydra would take a dataclass among its arguments for a configuration.
        reader = instantiate(config.cohort, _partial_=True)
    except InstantiationException as error:
        raise ConfigError(f"cohort: {error}") from None
    try:
        cohort = reader(space=space, **extra)
        return with_modalities(cohort, cohort.modalities, missing_modality_of(config))
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ConfigError(f"cohort has a key that {target} does not know: {error}") from None


def usable_cohort_of(
    config: DictConfig, space: LabelSpace, progress: Callable[[int, int], None] | None = None
) -> Cohort:
    """Read the cohort; with `on_error=skip` prepare it too, and leave out the scans with errors.

    Raises:
        ConfigError, CohortError: as `cohort_of`; no scan that is left.
    """
    on_error = on_error_of(config)
    cohort = cohort_of(config, space, progress, on_error)
    if on_error == "stop":
        return cohort
    with progress_bar("examine", total=len(cohort.scans)) as bar:
        return without_bad_scans(cohort, store_of(config), bar.advance)


def on_error_of(config: DictConfig) -> OnError:
    """Return "stop" or "skip"; the former for runs of earlier versions."""
    value = config.get("on_error", "stop")
    if value not in ("stop", "skip"):
        raise ConfigError(f"on_error is {value!r}; use stop, or skip to leave out bad scans")
    return value


def split_of(config: DictConfig, cohort: Cohort) -> Split:
    """Read or draw the split; scans that were skipped may stand in a table."""
    settings = parse_settings(SplitSettings, plain(config.split), "split")
    if any(problem.severity == "error" for problem in cohort.problems):
        settings = settings.model_copy(update={"subset": True})
    return split_cohort(cohort.scans, settings)


def missing_modality_of(config: DictConfig) -> MissingModality | None:
    """Return what happens to scans that lack a modality; None for runs of earlier versions."""
    if config.get("missing_modality") is None:
        return None
    return settings_of(MissingModality, config, "missing_modality")


def annotated_of(config: DictConfig, cohort: Cohort, split: Split) -> Plan:
    """Plan who is annotated how in all cohorts, and collect the label sets that follow.

    Args:
        config: of the run, with the further cohorts, which are read here.
        cohort: the first.
        split: of the first.

    Raises:
        ConfigError, CohortError: a cohort that cannot be used, or not with the others.
        LabelError: protocols that name unknown structures, or too many label sets.
    """
    settings = parse_settings(AnnotationSettings, plain(config.annotation), "annotation")
    weight = config.get("cohort_weight", 1.0)
    if weight is not None and not 0 < weight < float("inf"):
        raise ConfigError(f"cohort_weight is {weight}, expected a number above 0, or null")
    missing = missing_modality_of(config)

    def read(raw: dict[str, Any]) -> Cohort:
        try:
            own = OmegaConf.create({key: config[key] for key in SHARED if key in config})
            own.cohort = raw
            return usable_cohort_of(own, cohort.convention.space)
        except ConfigError as error:
            raise ConfigError(f"{KEY}.{raw['name']}: {error}") from None

    entries = plain(config.get(KEY)) or {}
    first = source_of(cohort, split, settings, weight)
    return Plan.of([first, *extra_sources(entries, cohort.modalities, missing, read)])


def store_of(config: DictConfig) -> Store:
    """Return the prepared store; jobs with the same preparation share it."""
    return Store(Path(config.paths.data) / "store", settings_of(PrepareSettings, config, "store"))


def module_of(config: DictConfig, annotated: Plan) -> SegmentationModule:
    """Build the networks, the head and the objective.

    Raises:
        ConfigError, LossError, NetworkError: keys that do not fit each other.
    """
    loss = plain(config.loss)
    missing = missing_modality_of(config)
    try:
        return SegmentationModule(
            labels=plain(config.labels),
            label_sets=plain_label_sets(annotated.codebook),
            modalities=list(annotated.modalities),
            missing_modality=None if missing is None else missing.model_dump(),
            prepare=settings_of(PrepareSettings, config, "store").model_dump(),
            patch_size=list(config.patches.size),
            network=plain(config.network),
            head=config.head,
            decoding=config.decoding,
            loss=loss,
            optimizer=plain(config.optimizer),
            teacher=plain(config.teacher),
            window=plain(config.window),
            predict_with=config.predict_with,
            compile=config.compile,
        )
    except (LossError, NetworkError):
        raise
    except ValueError as error:  # pydantic's are among them
        raise ConfigError(str(error)) from error


def data_of(
    config: DictConfig,
    annotated: Plan,
    with_teacher: bool,
    progress: Callable[[str], None] | None = None,
) -> MixedDataModule:
    """Build the data module."""
    return MixedDataModule(
        annotated=annotated,
        store=store_of(config),
        patches=settings_of(PatchSettings, config, "patches"),
        augment=settings_of(AugmentSettings, config, "augment"),
        seed=config.seed,
        with_teacher=with_teacher,
        progress=progress,
        missing_modality=missing_modality_of(config),
    )
