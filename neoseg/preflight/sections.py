"""The parts of a training's configuration and the settings that they must fit."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

import lightning as L
import yaml
from hydra.utils import get_object
from omegaconf import DictConfig
from pydantic import BaseModel, ConfigDict, Field

from neoseg.augment import AugmentSettings
from neoseg.cohort import AnnotationSettings, MissingModality, SplitSettings
from neoseg.cohort.phantom import PhantomSettings
from neoseg.configuration.config import CONFIG_DIR, plain
from neoseg.evaluation import ScoreSettings
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError, parse
from neoseg.patches import PatchSettings
from neoseg.store import PrepareSettings
from neoseg.targets import COHORT_TARGETS, TargetError, is_reader, require_targets
from neoseg.training.checkpoint import CheckpointSettings
from neoseg.training.optimisation import OptimizerSettings
from neoseg.training.recipe import RecipeSettings
from neoseg.training.teacher import TeacherSettings

SECTIONS: Mapping[str, type[BaseModel]] = {
    "patches": PatchSettings,
    "augment": AugmentSettings,
    "store": PrepareSettings,
    "annotation": AnnotationSettings,
    "split": SplitSettings,
    "optimizer": OptimizerSettings,
    "teacher": TeacherSettings,
    "recipe": RecipeSettings,
    "checkpoint": CheckpointSettings,
    "scoring": ScoreSettings,
    "missing_modality": MissingModality,
}


class Basics(BaseModel):
    """The single values of `conf/train.yaml`."""

    model_config = ConfigDict(extra="ignore")

    seed: int = Field(ge=0)
    head: Literal["multilabel", "softmax"]
    decoding: Literal["hierarchy", "paper"]
    predict_with: Literal["auto", "student", "teacher", "peer"] = "auto"
    compile: bool = False
    early_stopping: int | None = Field(default=None, ge=1)
    find_lr: int | None = Field(default=None, ge=1)
    score: bool = True
    pictures: int = Field(default=4, ge=0)
    on_error: Literal["stop", "skip"] = "stop"


class TrainerBasics(BaseModel):
    """What of `conf/trainer` can be told to be wrong without building a trainer."""

    model_config = ConfigDict(extra="ignore")

    max_epochs: int | None = Field(default=None, ge=1)
    devices: int | str | list[int] = 1
    num_nodes: int = Field(default=1, ge=1)
    accumulate_grad_batches: int = Field(default=1, ge=1)
    log_every_n_steps: int | None = Field(default=None, ge=0)
    gradient_clip_val: float | None = Field(default=None, ge=0)


def unknown_keys(config: DictConfig, name: str) -> Iterator[str]:
    """Yield a message for each key of the top level that no command knows."""
    raw = yaml.safe_load((CONFIG_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
    groups = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    known = sorted({*raw, *groups} - {"defaults", "hydra"})
    for key in map(str, config):
        if key not in known:
            yield f"there is no key '{key}'{nearest(key, known)}"


def wrong_sections(config: DictConfig) -> Iterator[str]:
    """Yield a message for each part whose keys or values do not fit."""
    yield from _told(Basics, plain(config), "")
    for key, model in SECTIONS.items():
        if config.get(key) is not None:
            yield from _told(model, plain(config[key]), key)
    trainer = plain(config.trainer)
    known = list(inspect.signature(L.Trainer.__init__).parameters)[1:]
    for key in trainer:
        if key not in known:
            yield f"there is no key 'trainer.{key}'{nearest(key, known)}"
    yield from _told(TrainerBasics, trainer, "trainer")


def wrong_cohort(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each key of `cohort` that its reader does not know.

    A reader that may not be called is left to `cohort_of`.
    """
    target = str(raw.get("_target_", ""))
    try:
        require_targets(raw, COHORT_TARGETS, is_reader, "reader")
        reader = get_object(target)
    except (TargetError, ImportError, ValueError):
        return
    options = set(inspect.signature(reader).parameters)
    if "reading" in options:
        options |= set(inspect.signature(get_object("neoseg.cohort.read_dhcp")).parameters)
    options -= {"space", "progress", "reading"}
    for key in raw:
        if not str(key).startswith("_") and key not in options:
            yield f"there is no key 'cohort.{key}'{nearest(str(key), sorted(options))}"
    phantom = raw.get("phantom")
    if isinstance(phantom, Mapping):
        names = [field.name for field in fields(PhantomSettings)]
        for key in phantom:
            if key not in names:
                yield f"there is no key 'cohort.phantom.{key}'{nearest(str(key), names)}"


def _told(model: type[BaseModel], raw: Any, key: str) -> Iterator[str]:
    try:
        parse(model, raw, key)
    except ConfigError as error:
        yield from (line.strip() for line in str(error).splitlines()[1:])
