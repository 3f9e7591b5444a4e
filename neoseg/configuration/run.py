"""`RunConfig`: all settings of a training run, parsed once from `conf/train.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from neoseg.augment import AugmentSettings
from neoseg.augment.torchio_transforms import require_known
from neoseg.cohort import Cohort, Plan
from neoseg.configuration.cluster import LocalSettings, SlurmSettings, cluster_of
from neoseg.configuration.data import DataConfig
from neoseg.configuration.plan_check import check_plan, require_a_share
from neoseg.configuration.teaching import require_predictor, require_start, require_teacher
from neoseg.configuration.trainer import TrainerSettings, in_epochs, require_fit
from neoseg.evaluation.scoring import ScoreSettings
from neoseg.findings.privacy import Privacy
from neoseg.inference.window import WindowSettings
from neoseg.labels import Codebook, LabelSpace
from neoseg.losses import Objective
from neoseg.networks import check_network
from neoseg.patches.dataset import PatchSettings
from neoseg.store.leaks import Leaks, by_name, members_of, require_none
from neoseg.tracking.loggers import LoggerSettings
from neoseg.training.checkpoint import CheckpointSettings
from neoseg.training.nonfinite import NonFiniteSettings
from neoseg.training.optimisation import OptimizerSettings, check_optimizer
from neoseg.training.parts import InitSettings
from neoseg.training.rate import FEWEST_STEPS
from neoseg.training.recipe import RecipeSettings
from neoseg.training.speed import Compiling
from neoseg.training.teacher import TeacherSettings

if TYPE_CHECKING:
    from neoseg.patches.datamodule import MixedDataModule
    from neoseg.training.module import SegmentationModule

Cluster = LocalSettings | SlurmSettings | None
ANY_PATCH = [1, 1, 1]
"""Placeholder for an invalid patch size, so that the other keys can still be checked."""


class RunConfig(DataConfig):
    """A run, from its cohorts to its scores. Each key of `conf/train.yaml` is a field.

    A check across several keys is a validator of the field declared last among them. It reads only
    the earlier fields that are valid themselves.
    """

    name: str = Field(description="of the experiment; the arm in tables")
    seed: int = Field(ge=0, lt=2**32)  # as NumPy takes them
    patches: PatchSettings
    augment: AugmentSettings
    network: dict[str, Any]
    head: Literal["multilabel", "softmax"]
    decoding: Literal["hierarchy", "paper"]
    loss: dict[str, dict[str, Any] | None]
    teacher: Annotated[TeacherSettings | None, Field(validate_default=True)] = None
    predict_with: Literal["auto", "student", "teacher", "peer"] = "auto"
    optimizer: OptimizerSettings
    recipe: RecipeSettings
    trainer: TrainerSettings
    compile: Compiling = False
    channels_last: bool = False
    window: WindowSettings
    checkpoint: CheckpointSettings = CheckpointSettings()
    on_nan: Literal["stop", "skip"] = "stop"
    max_skipped: int = Field(default=10, ge=0)
    early_stopping: int | None = Field(default=None, ge=1)
    find_lr: int | None = Field(default=None, ge=FEWEST_STEPS)
    logger: LoggerSettings = LoggerSettings()
    cluster: Annotated[Cluster, BeforeValidator(cluster_of)] = None
    privacy: Privacy = "none"
    score: bool = True
    pictures: int = Field(default=4, ge=0)
    scoring: ScoreSettings = ScoreSettings()
    init_from: str | None = None
    init: InitSettings = InitSettings()
    resume: str | None = None
    plan_file: str = Field(
        default="auto", alias="plan", description="auto, always, none, or a file of neoseg.plan"
    )
    sweep: str = "default"
    dry_run: bool = False
    leaks: Leaks = "stop"
    seconds_per_step: float | None = Field(default=None, gt=0)

    @classmethod
    def completed(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Return the plain containers with `trainer.max_steps` converted to epochs."""
        return in_epochs(config)

    @field_validator("patches")
    @classmethod
    def _check_stream_shares(cls, patches: PatchSettings) -> PatchSettings:
        require_a_share(patches)
        return patches

    @field_validator("augment")
    @classmethod
    def _check_transforms(cls, augment: AugmentSettings, info: ValidationInfo) -> AugmentSettings:
        require_known(augment.targets, info.data.get("allow", ()))
        return augment

    @field_validator("network")
    @classmethod
    def _check_network(cls, raw: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "patches" in info.data:
            check_network(raw, info.data["patches"].size, info.data.get("allow", ()))
        return raw

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, raw: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if {"labels", "head"} <= info.data.keys():
            _objective(raw, info)
        return raw

    @field_validator("teacher")
    @classmethod
    def _check_teacher(
        cls, teacher: TeacherSettings | None, info: ValidationInfo
    ) -> TeacherSettings | None:
        if not {"labels", "head", "loss"} <= info.data.keys():
            return teacher
        network = info.data.get("network") if "patches" in info.data else None
        size = info.data["patches"].size if network else ()
        objective = _objective(info.data["loss"], info)
        require_teacher(objective, teacher, network, size, info.data.get("allow", ()))
        return teacher

    @field_validator("predict_with")
    @classmethod
    def _check_predictor(cls, choice: str, info: ValidationInfo) -> str:
        teacher = info.data.get("teacher")
        if teacher is None or not {"labels", "head", "loss"} <= info.data.keys():
            return choice
        require_predictor(_objective(info.data["loss"], info), teacher, choice)
        return choice

    @field_validator("optimizer")
    @classmethod
    def _check_optimizer(
        cls, optimizer: OptimizerSettings, info: ValidationInfo
    ) -> OptimizerSettings:
        check_optimizer(optimizer, info.data.get("allow", ()))
        return optimizer

    @field_validator("trainer")
    @classmethod
    def _check_trainer(cls, trainer: TrainerSettings, info: ValidationInfo) -> TrainerSettings:
        require_fit(trainer, info.data)
        return trainer

    @field_validator("window", mode="before")
    @classmethod
    def _set_window_size(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, dict):
            return raw
        size = info.data["patches"].size if "patches" in info.data else ANY_PATCH
        return {**raw, "patch_size": size}

    @field_validator("init")
    @classmethod
    def _check_start(cls, init: InitSettings, info: ValidationInfo) -> InitSettings:
        require_start(init, info.data.get("init_from"), info.data.get("recipe"))
        return init

    @field_validator("cluster")
    @classmethod
    def _check_cluster(cls, cluster: Cluster, info: ValidationInfo) -> Cluster:
        trainer = info.data.get("trainer")
        if isinstance(cluster, SlurmSettings) and trainer is not None:
            cluster.require_processes(trainer.devices, trainer.num_nodes, trainer.processes)
        return cluster

    @property
    def non_finite(self) -> NonFiniteSettings:
        """How to handle a non-finite loss."""
        return NonFiniteSettings(on_nan=self.on_nan, max_skipped=self.max_skipped)

    def plan(self, cohort: Cohort | None = None) -> Plan:
        """Plan as `DataConfig.plan` does, and check that every batch can be filled with scans.

        Raises:
            DataError: no training scans, a batch too small for its streams, or a subject id that
                is in two splits.
            ConfigError: a setting that needs validation scans, without any.
        """
        plan = super().plan(cohort)
        needs = {"early_stopping": self.early_stopping, "checkpoint.best": self.checkpoint.best}
        if self.leaks != "namesakes":
            remedy = (
                "give both to one split (split.file), or say in the configuration what they are: "
                "leaks=namesakes for other people of the same id, leaks=tell to go on all the same"
            )
            require_none(by_name(members_of(plan)), self.leaks, remedy)
        check_plan(plan, self.patches, [k for k, v in needs.items() if v], self.recipe)
        return plan

    def input_channels(self, plan: Plan) -> int:
        """Return the number of input channels: the images and, if any, their availability flags."""
        policy, images = self.missing_modality, len(plan.modalities)
        return images if policy is None else policy.channels(images)

    def module(self, plan: Plan) -> SegmentationModule:
        """Build the networks, the head and the objective.

        Raises:
            ConfigError, LossError, NetworkError: keys that are incompatible with each other.
        """
        from neoseg.training.module import ModuleSpec, SegmentationModule

        spec = ModuleSpec(
            labels=self.labels,
            label_sets=plan.codebook.plain_sets,
            modalities=plan.modalities,
            missing_modality=self.missing_modality,
            prepare=self.preparation(plan.sources[0].cohort),
            patch_size=self.patches.size,
            network=self.network,
            head=self.head,
            decoding=self.decoding,
            window=self.window,
            predict_with=self.predict_with,
            loss=self.loss,
            optimizer=self.optimizer,
            teacher=self.teacher or TeacherSettings(),
            compile=self.compile,
            channels_last=self.channels_last,
            init=self.init,
        )
        return SegmentationModule(spec, self.allow)

    def data(
        self, plan: Plan, with_teacher: bool, progress: Callable[[str], None] | None = None
    ) -> MixedDataModule:
        """Build the data module."""
        from neoseg.patches.datamodule import MixedDataModule

        return MixedDataModule(
            annotated=plan,
            store=self.open_store(plan.sources[0].cohort),
            patches=self.patches,
            augment=self.augment,
            seed=self.seed,
            with_teacher=with_teacher,
            progress=progress,
            missing_modality=self.missing_modality,
            leaks=self.leaks,
        )


def _objective(raw: dict[str, Any], info: ValidationInfo) -> Objective:
    """Build the loss terms for the label table without merged label sets; raises `LossError`."""
    space = LabelSpace.from_table(info.data["labels"])
    return Objective(raw, Codebook.build(space), info.data["head"], info.data.get("allow", ()))
