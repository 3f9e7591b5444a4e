"""`RunConfig`: all settings of a training run, parsed once from `conf/train.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from neoseg.augment import AugmentSettings
from neoseg.augment.torchio_transforms import require_known
from neoseg.cohort import Cohort, Plan
from neoseg.configuration.cluster import LocalSettings, SlurmSettings, cluster_of
from neoseg.configuration.command_config import Earlier, checked
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


def _check_network(raw: dict[str, Any], earlier: Earlier) -> None:
    if "patches" in earlier:
        check_network(raw, earlier["patches"].size, earlier.get("allow", ()))


def _objective(raw: dict[str, Any], earlier: Earlier) -> Objective | None:
    """Build the loss terms for the label table without merged label sets; raises `LossError`."""
    if not {"labels", "head"} <= earlier.keys():
        return None
    space = LabelSpace.from_table(earlier["labels"])
    return Objective(raw, Codebook.build(space), earlier["head"], earlier.get("allow", ()))


def _check_teacher(teacher: TeacherSettings | None, earlier: Earlier) -> None:
    if "loss" in earlier and (objective := _objective(earlier["loss"], earlier)):
        network = earlier.get("network") if "patches" in earlier else None
        size = earlier["patches"].size if network else ()
        require_teacher(objective, teacher, network, size, earlier.get("allow", ()))


def _check_predictor(choice: str, earlier: Earlier) -> None:
    teacher = earlier.get("teacher")
    if teacher and "loss" in earlier and (objective := _objective(earlier["loss"], earlier)):
        require_predictor(objective, teacher, choice)


def _check_cluster(cluster: Cluster, earlier: Earlier) -> None:
    trainer = earlier.get("trainer")
    if isinstance(cluster, SlurmSettings) and trainer is not None:
        cluster.require_processes(trainer.devices, trainer.num_nodes, trainer.processes)


class RunConfig(DataConfig):
    """A run, from its cohorts to its scores. Each key of `conf/train.yaml` is a field.

    A check across several keys is a validator of the field declared last among them. It reads only
    the earlier fields that are valid themselves.
    """

    name: str = Field(description="of the experiment; the arm in tables")
    seed: int = Field(ge=0, lt=2**32)  # as NumPy takes them
    patches: Annotated[PatchSettings, checked(lambda shares, _: require_a_share(shares))]
    augment: Annotated[
        AugmentSettings, checked(lambda v, data: require_known(v.targets, data.get("allow", ())))
    ]
    network: Annotated[dict[str, Any], checked(_check_network)]
    head: Literal["multilabel", "softmax"]
    decoding: Literal["hierarchy", "paper"]
    loss: Annotated[dict[str, dict[str, Any] | None], checked(_objective)]
    teacher: Annotated[
        TeacherSettings | None, Field(validate_default=True), checked(_check_teacher)
    ] = None
    predict_with: Annotated[
        Literal["auto", "student", "teacher", "peer"], checked(_check_predictor)
    ] = "auto"
    optimizer: Annotated[
        OptimizerSettings, checked(lambda v, data: check_optimizer(v, data.get("allow", ())))
    ]
    recipe: RecipeSettings
    trainer: Annotated[TrainerSettings, checked(require_fit)]
    compile: Compiling = False
    channels_last: bool = False
    window: WindowSettings
    checkpoint: CheckpointSettings = CheckpointSettings()
    on_nan: Literal["stop", "skip"] = "stop"
    max_skipped: int = Field(default=10, ge=0)
    early_stopping: int | None = Field(default=None, ge=1)
    find_lr: int | None = Field(default=None, ge=FEWEST_STEPS)
    logger: LoggerSettings = LoggerSettings()
    cluster: Annotated[Cluster, BeforeValidator(cluster_of), checked(_check_cluster)] = None
    privacy: Privacy = "none"
    score: bool = True
    pictures: int = Field(default=4, ge=0)
    scoring: ScoreSettings = ScoreSettings()
    init_from: str | None = None
    init: Annotated[
        InitSettings,
        checked(lambda v, data: require_start(v, data.get("init_from"), data.get("recipe"))),
    ] = InitSettings()
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

    @field_validator("window", mode="before")
    @classmethod
    def _set_window_size(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, dict):
            return raw
        size = info.data["patches"].size if "patches" in info.data else ANY_PATCH
        return {**raw, "patch_size": size}

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
