"""What a run does with scans that lack one of its modalities."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from neoseg.cohort.scan import Cohort, Scan
from neoseg.findings.problems import CohortError, Problem, shorten
from neoseg.findings.settings import Section

log = logging.getLogger(__name__)


class MissingModality(Section):
    """What a user writes under `missing_modality`; the first modality is never missing."""

    policy: Literal["require", "drop", "zero", "dropout"] = "zero"
    probability: float = Field(
        default=0.3, ge=0, le=1, description="dropout: of hiding each modality but the first"
    )

    @property
    def fills(self) -> bool:
        """Whether missing images become zeros, with a flag channel for each optional modality."""
        return self.policy in ("zero", "dropout")

    @property
    def hidden(self) -> float:
        """Probability with which training hides a modality that a scan has."""
        return self.probability if self.policy == "dropout" else 0.0

    def channels(self, modalities: int) -> int:
        """Return the input channels of a network: an image each, a flag each but the first."""
        return modalities + (modalities - 1 if self.fills else 0)

    def channel_names(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """Name those channels: an image by its modality, a flag with a question mark behind."""
        flags = [f"{name}?" for name in modalities[1:]] if self.fills else []
        return (*modalities, *flags)


def with_modalities(
    cohort: Cohort, modalities: Sequence[str], missing: MissingModality | None
) -> Cohort:
    """Return the cohort with the images of `modalities` in that order, None where it lacks one.

    "require" allows no scan that lacks one, "drop" leaves such scans out; None, as in runs of
    earlier versions, lets all pass.

    Raises:
        CohortError: a cohort that has other modalities or lacks the first, no scan that is left,
            or scans that lack what the policy requires.
    """
    where = f"cohort '{cohort.name}'"
    own = {name: place for place, name in enumerate(cohort.modalities)}
    foreign = [name for name in own if name not in modalities]
    if foreign or modalities[0] not in own:
        found = Problem(
            "modalities",
            f"found {list(own)}, and the run has {list(modalities)}",
            f"some of the run's, {modalities[0]} among them",
            "change the cohort's `modalities`, or those of the run",
        )
        raise CohortError(f"{where} does not fit the run:", [found])
    scans = [
        replace(scan, images=tuple(scan.images[own[m]] if m in own else None for m in modalities))
        for scan in cohort.scans
    ]
    lacking = [scan for scan in scans if None in scan.images]
    if missing is not None and not missing.fills and lacking:
        kept = [scan for scan in scans if None not in scan.images]
        if missing.policy == "require" or not kept:
            raise CohortError(f"{where} lacks images:", [_lacking(lacking, scans, modalities)])
        log.warning("%s: %s", where, _lacking(lacking, scans, modalities, "they are left out"))
        scans = kept
    return replace(cohort, scans=tuple(scans), modalities=tuple(modalities))


def _lacking(
    lacking: Sequence[Scan], scans: Sequence[Scan], modalities: Sequence[str], action: str = ""
) -> Problem:
    names = [
        name for place, name in enumerate(modalities) if any(not s.images[place] for s in scans)
    ]
    return Problem(
        "modalities",
        f"{len(lacking)} of {len(scans)} scans have no {' or '.join(names)}: "
        f"{shorten(scan.id for scan in lacking)}",
        action=action
        or "leave them out with cohort.require_modalities=true, or train with "
        "missing_modality.policy=drop (the same), zero or dropout (zeros and a flag)",
    )
