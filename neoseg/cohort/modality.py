"""Handle scans that lack a modality of the run."""

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
    """Settings of `missing_modality`; the first modality is never missing."""

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
        """Probability with which training hides an existing modality of a scan."""
        return self.probability if self.policy == "dropout" else 0.0

    def channels(self, modalities: int) -> int:
        """Return the number of input channels: one image each, and one flag each but the first."""
        return modalities + (modalities - 1 if self.fills else 0)

    def channel_names(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the channels: the modality for an image, `modality?` for a flag."""
        flags = [f"{name}?" for name in modalities[1:]] if self.fills else []
        return (*modalities, *flags)


def with_modalities(
    cohort: Cohort, modalities: Sequence[str], missing: MissingModality | None
) -> Cohort:
    """Return the cohort with images in the order of `modalities`, None for missing ones.

    The policy "require" allows no scan with a missing image, "drop" leaves such scans out; without
    a policy (`missing` is None, as in runs of earlier versions) all scans pass. Scans without the
    first modality are always left out.

    Raises:
        CohortError: the cohort has other modalities or lacks the first, no scan is left, or scans
            lack images that the policy requires.
    """
    where = f"cohort '{cohort.name}'"
    slot = {name: number for number, name in enumerate(cohort.modalities)}
    unexpected = [name for name in slot if name not in modalities]
    if unexpected or modalities[0] not in slot:
        problem = Problem(
            "modalities",
            f"found {list(slot)}, and the run has {list(modalities)}",
            f"some of the run's, {modalities[0]} among them",
            f"set the cohort's `modalities` to [{','.join(modalities)}] (where its files call them "
            "otherwise, cohort=folder, nnunet and freesurfer have `names`), or change the run's",
        )
        raise CohortError(f"{where} does not fit the run:", [problem])
    if others := [name for name in modalities if name not in slot]:
        log.warning(
            "%s is read with modalities=[%s] alone: its scans count as without %s; if they have "
            "it, name it in the `modalities` of the cohort",
            *(where, ",".join(slot), " or ".join(others)),
        )
    reordered = [
        replace(scan, images=tuple(scan.images[slot[m]] if m in slot else None for m in modalities))
        for scan in cohort.scans
    ]
    scans = [scan for scan in reordered if scan.images[0] is not None]
    if without_first := [scan for scan in reordered if scan.images[0] is None]:
        found = _missing(without_first, reordered, modalities[:1], "they are left out")
        if not scans or (missing is not None and missing.policy == "require"):
            raise CohortError(f"{where} does not fit the run:", [found])
        log.warning("%s: %s", where, found)
    incomplete = [scan for scan in scans if None in scan.images]
    if missing is not None and not missing.fills and incomplete:
        complete = [scan for scan in scans if None not in scan.images]
        if missing.policy == "require" or not complete:
            raise CohortError(f"{where} lacks images:", [_missing(incomplete, scans, modalities)])
        log.warning("%s: %s", where, _missing(incomplete, scans, modalities, "they are left out"))
        scans = complete
    elif missing is not None and incomplete:
        filled = _missing(incomplete, scans, modalities, "zeros and a flag take their place")
        log.info("%s: %s", where, filled)
    return replace(cohort, scans=tuple(scans), modalities=tuple(modalities))


def nowhere(cohorts: Sequence[Cohort]) -> list[Problem]:
    """Return the problem, if any, that no scan of cohorts with the same modalities has one."""
    scans = [scan for cohort in cohorts for scan in cohort.scans]
    slots = enumerate(cohorts[0].modalities)
    absent = [name for slot, name in slots if not any(scan.images[slot] for scan in scans)]
    if not absent or not scans:
        return []
    return [
        Problem(
            "modalities",
            f"none of {len(scans)} scans has {' or '.join(absent)}",
            "at least one scan with each modality",
            "correct what they are called, or take them out of the cohort's `modalities`",
        )
    ]


def require_each(cohorts: Sequence[Cohort], missing: MissingModality | None) -> None:
    """Raise `CohortError` if zeros would take the place of a modality in all scans.

    The cohorts have the same modalities.
    """
    if missing is not None and missing.fills and (problems := nowhere(cohorts)):
        names = ", ".join(f"'{cohort.name}'" for cohort in cohorts)
        raise CohortError(f"the scans of {names} do not fit the run:", problems)


def _missing(
    incomplete: Sequence[Scan], scans: Sequence[Scan], modalities: Sequence[str], action: str = ""
) -> Problem:
    names = [name for slot, name in enumerate(modalities) if any(not s.images[slot] for s in scans)]
    return Problem(
        "modalities",
        f"{len(incomplete)} of {len(scans)} scans have no {' or '.join(names)}: "
        f"{shorten(scan.id for scan in incomplete)}",
        action=action
        or "leave them out with cohort.require_modalities=true, or train with "
        "missing_modality.policy=drop (the same), zero or dropout (zeros and a flag)",
    )
