"""Further cohorts of a run: each with a reader, a convention, a split and a protocol of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from neoseg.cohort import (
    AnnotationSettings,
    Cohort,
    CohortError,
    ExtraAnnotationSettings,
    MissingModality,
    Source,
    Split,
    SplitSettings,
    parse_settings,
    plan_annotation,
    split_cohort,
    with_modalities,
)

KEY = "extra_cohorts"


class ExtraCohort(BaseModel):
    """What a user writes in an entry of `extra_cohorts`, whose key is the cohort's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cohort: dict[str, Any]
    annotation: ExtraAnnotationSettings = ExtraAnnotationSettings()
    split: SplitSettings = SplitSettings()
    weight: float | None = Field(default=1.0, ge=0, allow_inf_nan=False)


def source_of(
    cohort: Cohort, split: Split, settings: AnnotationSettings, weight: float | None
) -> Source:
    """Plan who of a cohort is annotated how; raises `CohortError` and `LabelError`."""
    protocols = settings.protocols(cohort.convention.space)
    assignments = plan_annotation(cohort.scans, split, settings)
    return Source(cohort, split, assignments, protocols, weight, settings.draw)


def extra_sources(
    entries: Mapping[str, Any],
    modalities: tuple[str, ...],
    missing: MissingModality | None,
    read: Callable[[dict[str, Any]], Cohort],
) -> list[Source]:
    """Read and plan further cohorts.

    Args:
        entries: plain containers, by the name of the cohort.
        modalities: of the run; a cohort may have some of them.
        missing: what happens to scans that lack one.
        read: reads a cohort from what stands under `cohort`.

    Raises:
        CohortError: naming the entry and what is wrong with it.
        LabelError: a protocol that names unknown structures.
    """
    sources = []
    for name, raw in entries.items():
        where = f"{KEY}.{name}"
        settings = parse_settings(ExtraCohort, raw or {}, where)
        try:
            cohort = read({**settings.cohort, "name": str(name)})
            cohort = with_modalities(cohort, modalities, missing)
            split = split_cohort(cohort.scans, settings.split)
            sources.append(source_of(cohort, split, settings.annotation, settings.weight))
        except CohortError as error:
            # The keys that the message names are those below the entry.
            raise CohortError(f"{where}: {error}") from None
    return sources
