"""The data part of a run's configuration: cohorts, splits and annotation protocols."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from neoseg.cohort import (
    AnnotationSettings,
    Cohort,
    CohortError,
    MissingModality,
    Plan,
    Source,
    Split,
    SplitSettings,
)
from neoseg.cohort.annotated import with_annotation
from neoseg.cohort.annotation import ExtraAnnotationSettings, plan_annotation
from neoseg.cohort.modality import require_each, with_modalities
from neoseg.cohort.split import split_cohort, split_of
from neoseg.cohort.streams import compared
from neoseg.configuration.command_config import CommandConfig, Earlier, checked
from neoseg.configuration.reader import Reader
from neoseg.findings.problems import OnError
from neoseg.findings.settings import ConfigError, Section, WrongKeysError
from neoseg.labels import LabelError, LabelSpace, LabelTable
from neoseg.progress import progress_bar
from neoseg.store import PrepareSettings
from neoseg.store.store import Store
from neoseg.store.voxel_size import with_voxel_size

_OWN_KEY = re.compile(
    r"(?<![\w./\\-])(?=(?:cohort|split|annotation)\.(?!(?:csv|tsv|json|ya?ml|txt|nii)\b)[a-z_])"
)
"""Where a message names a key of the first cohort, not a file."""


class ExtraCohort(Section):
    """Settings of one entry of `extra_cohorts`; its key is the name of the cohort."""

    cohort: Reader
    annotation: ExtraAnnotationSettings = ExtraAnnotationSettings()
    split: SplitSettings = SplitSettings()
    weight: float | None = Field(default=1.0, ge=0, allow_inf_nan=False)


class Paths(Section):
    """Folders that a run reads from and writes to."""

    data: Path = Path("data")
    runs: Path = Path("runs")


def _check_reader(cohort: Reader, earlier: Earlier) -> None:
    WrongKeysError.require_none(cohort.wrong_keys(earlier.get("allow", ())))


class FilesConfig(CommandConfig):
    """A cohort by its files and tables alone."""

    allow: tuple[str, ...] = Field(
        default=(), description="packages beside neoseg's own whose classes may be used"
    )
    labels: Annotated[LabelTable, checked(lambda table, _: LabelSpace.from_table(table))]
    cohort: Annotated[Reader, checked(_check_reader)]

    @cached_property
    def space(self) -> LabelSpace:
        """The label space of the table."""
        return LabelSpace.from_table(self.labels)


class CohortConfig(FilesConfig):
    """Settings of every command that reads the scans of a cohort; training runs extend it."""

    annotation: AnnotationSettings | None = None
    store: PrepareSettings
    missing_modality: MissingModality | None = None
    on_error: Literal["stop", "skip"] = "stop"
    paths: Paths = Paths()

    @field_validator("annotation")
    @classmethod
    def _check_annotation(
        cls, annotation: AnnotationSettings | None, info: ValidationInfo
    ) -> AnnotationSettings | None:
        if annotation is not None and "labels" in info.data:
            try:
                annotation.resolved(LabelSpace.from_table(info.data["labels"]))
            except LabelError as error:
                # The default annotation is for the dHCP and fails with most other label tables.
                raise LabelError(
                    f"annotation: {error}; where every scan is drawn in full, choose "
                    "annotation=full, else name classes of this table, as in "
                    "'annotation.protocol.merge=[CLASS]'"
                ) from None
        return annotation

    def preparation(self, cohort: Cohort) -> PrepareSettings:
        """Return the preparation settings with the voxel size of the first cohort."""
        return self.store.model_copy(update={"spacing": cohort.voxel_size})

    def open_store(self, cohort: Cohort) -> Store:
        """Return the store of prepared scans for a run with this first cohort.

        Jobs with the same preparation settings share it.
        """
        return Store(self.paths.data / "store", self.preparation(cohort))

    def read_cohort(self, on_error: OnError = "stop") -> Cohort:
        """Read the first cohort and apply the policy for missing modalities.

        The cohort also has the annotation protocol of each scan, if one is named, and the voxel
        size to which the scans of all cohorts are resampled.

        Args:
            on_error: how readers handle errors; they check file names and tables only.

        Raises:
            ConfigError, CohortError: as `Reader.read_cohort`.
        """
        with progress_bar("phantom") as bar:
            cohort = self.cohort.read_cohort(self.space, on_error, bar.update_to)
        if self.annotation is not None:
            cohort = with_annotation(cohort, self.annotation, on_error)
        cohort = with_modalities(cohort, cohort.modalities, self.missing_modality)
        return with_voxel_size(cohort, self.store.spacing, quiet=on_error == "collect")


class DataConfig(CohortConfig):
    """The cohorts of a run, their splits, and how each scan is annotated."""

    split: SplitSettings
    annotation: AnnotationSettings
    cohort_weight: float | None = Field(default=1.0, gt=0, allow_inf_nan=False)
    extra_cohorts: dict[str, ExtraCohort] = Field(default_factory=dict)

    @field_validator("split")
    @classmethod
    def _check_split(cls, split: SplitSettings, info: ValidationInfo) -> SplitSettings:
        """Require at least one subject for each part of the split."""
        cohort = info.data.get("cohort")
        if split.file is not None or cohort is None:
            return split
        parts = sum(fraction > 0 for fraction in split.fractions)
        limits = {"cohort.max_subjects": cohort.options.get("max_subjects")}
        phantom, subjects = cohort.options.get("phantom"), cohort.options.get("subjects")
        if isinstance(phantom, Mapping):
            limits["cohort.phantom.subjects"] = phantom.get("subjects")
        if isinstance(subjects, list):
            limits["cohort.subjects"] = len(subjects)
        WrongKeysError.require_none(
            f"{key} allows {number} subjects, and split.fractions {list(split.fractions)} asks for "
            f"{parts} parts; add subjects, or set the fraction of a part to 0"
            for key, number in limits.items()
            if isinstance(number, int) and number < parts
        )
        return split

    @field_validator("extra_cohorts")
    @classmethod
    def _check_extra_readers(
        cls, extras: dict[str, ExtraCohort], info: ValidationInfo
    ) -> dict[str, ExtraCohort]:
        allow = info.data.get("allow", ())
        WrongKeysError.require_none(
            line
            for name, entry in extras.items()
            for line in entry.cohort.wrong_keys(allow, f"extra_cohorts.{name}.cohort")
        )
        return extras

    def usable_cohort(self) -> Cohort:
        """Read the first cohort; with `on_error=skip`, prepare it and drop scans with errors.

        Raises:
            ConfigError, CohortError: as `read_cohort`, or no scan is left.
        """
        cohort = self.read_cohort(self.on_error)
        return self._without_bad_scans(cohort, self.open_store(cohort))

    def plan(self, cohort: Cohort | None = None) -> Plan:
        """Assign an annotation protocol to each scan of all cohorts, and collect the label sets.

        Args:
            cohort: the first cohort, if it has been read already.

        Raises:
            ConfigError, CohortError: a cohort that is unusable or incompatible with the others.
            LabelError: protocols that name unknown structures, or too many label sets.
        """
        if cohort is None:
            cohort = self.usable_cohort()
        first = source_of(cohort, split_of(cohort, self.split), self.annotation, self.cohort_weight)
        sources, use_rest = (first, *self._extra_sources(cohort)), self.annotation.use_rest
        require_each([source.cohort for source in sources], self.missing_modality)
        extras = (use_rest and entry.annotation.use_rest for entry in self.extra_cohorts.values())
        return Plan.of(list(compared(sources, (use_rest, *extras))))

    def _extra_sources(self, first: Cohort) -> Iterator[Source]:
        for name, entry in self.extra_cohorts.items():
            where = f"extra_cohorts.{name}"
            reader = entry.cohort.model_copy(update={"name": name})
            try:
                cohort = reader.read_cohort(self.space, self.on_error)
                cohort = with_annotation(cohort, entry.annotation, self.on_error)
                cohort = self._without_bad_scans(cohort, self.open_store(first))
                cohort = with_modalities(cohort, first.modalities, self.missing_modality)
                cohort = with_voxel_size(cohort, first.voxel_size)
                split = split_cohort(cohort.scans, entry.split)
                yield source_of(cohort, split, entry.annotation, entry.weight)
            except (CohortError, ConfigError) as error:
                # The message names keys as those of the first cohort.
                text = _OWN_KEY.sub(f"{where}.", str(error))
                raise type(error)(f"{where}: {text}") from None

    def _without_bad_scans(self, cohort: Cohort, store: Store) -> Cohort:
        if self.on_error == "stop":
            return cohort
        from neoseg.doctor.examination import without_bad_scans

        with progress_bar("examine", total=len(cohort.scans)) as bar:
            return without_bad_scans(cohort, store, bar.advance)


def source_of(
    cohort: Cohort, split: Split, settings: AnnotationSettings, weight: float | None
) -> Source:
    """Assign an annotation protocol to each scan; raises `CohortError` and `LabelError`."""
    protocols = settings.resolved(cohort.convention.space)
    protocols |= {named.name: named for named in (s.annotation for s in cohort.scans) if named}
    assignments = plan_annotation(cohort.scans, split, settings)
    return Source(cohort, split, assignments, protocols, weight, settings.draw)
