"""Configuration shared by the commands that segment scans with trained runs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator

from neoseg.cohort.modality import with_modalities
from neoseg.cohort.plan import Plan
from neoseg.configuration.command_config import CommandConfig, RunFolders
from neoseg.findings.settings import ConfigError
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.image_names import Naming
from neoseg.inference.model_file import code_of
from neoseg.inference.origin import Origin
from neoseg.inference.segmenter import Segmenter
from neoseg.own_code import current_code
from neoseg.runs.loading import Moved, data_of, load_predictor, naming_of, warn_of_unfinished
from neoseg.runs.people import as_trained
from neoseg.store.voxel_size import VoxelSize


class PredictingConfig(CommandConfig):
    """The runs of an ensemble, and settings of their prediction."""

    allow: tuple[str, ...] = ()
    run: RunFolders
    root: Moved | None = None
    predict_with: str | None = None
    device: str = "auto"
    voxel_size: VoxelSize | None = None
    window: dict[str, Any] = Field(default_factory=dict)

    @property
    def made_by(self) -> str:
        """The joined names of the runs."""
        return " + ".join(run.resolve().name for run in self.run)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that affect predictions, besides the weights, with code not neoseg's."""
        recorded = {k: v for run in self.run for k, v in code_of(run).items()}
        code = current_code(recorded, self.allow)
        own = {"code": code} if code else {}
        return {**self._window, "predict_with": self.predict_with, **own}

    @property
    def _window(self) -> dict[str, Any]:
        return {**self.window, "voxel_size": self.voxel_size}

    def load(self) -> tuple[Segmenter | Ensemble, tuple[str, ...]]:
        """Return the segmenter or ensemble and its modalities; see `load_predictor`."""
        warn_of_unfinished(self.run)
        return load_predictor(self.run, self.device, self.predict_with, self.allow, **self._window)

    def plan(self, modalities: tuple[str, ...]) -> Plan:
        """Return the annotation plan with which the first run was trained."""
        data = data_of(self.run[0], self.allow, self.root)
        cohort = data.usable_cohort()
        plan = data.plan(with_modalities(cohort, modalities, data.missing_modality))
        return as_trained(plan, self.run[0])

    def origin(self) -> Origin:
        """Return the origin of predictions: weights and settings."""
        return Origin.of(self.made_by, self.run, self.settings)


class FindingConfig(PredictingConfig):
    """How the images of new scans are told by the names of their files."""

    desc: str | None = None
    names: dict[str, str] | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _numbers_are_words(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {str(key): str(v) if isinstance(v, int) else v for key, v in raw.items()}

    def naming(self, modalities: Sequence[str]) -> Naming:
        """Return how the names of files tell the images; `names` goes before that of the run.

        Raises:
            ConfigError: `names` of modalities that the run does not have.
        """
        names = self.names or {}
        if unknown := sorted(names.keys() - {*modalities}):
            raise ConfigError(
                f"names has {', '.join(unknown)}, expected modalities of the run, "
                f"{', '.join(modalities)}, each with what it is called in the names of the files"
            )
        naming = naming_of(self.run[0])
        return replace(naming, names={**naming.names, **names})
