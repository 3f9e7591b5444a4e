"""Which scans of a cohort take part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import Field, field_validator

from neoseg.cohort.scan import Scan, bare_id
from neoseg.findings.problems import Problems, shorten
from neoseg.findings.settings import Section


class Selection(Section):
    """Filters that every cohort understands; ids with or without `sub-`.

    `max_birth_age` is in weeks and inclusive; scans whose birth age is not known are then left out.
    """

    subjects: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    max_subjects: int | None = Field(default=None, ge=1)
    max_birth_age: float | None = Field(default=None, gt=0)
    require_modalities: bool = False

    @field_validator("subjects", "exclude", mode="before")
    @classmethod
    def _bare(cls, ids: Any) -> Any:
        if not isinstance(ids, list | tuple):
            return ids
        return tuple(bare_id(str(i), "sub-") if isinstance(i, str | int) else i for i in ids)

    def wants(self, subject: str) -> bool:
        """Tell whether a subject (without `sub-`) is neither excluded nor unlisted."""
        listed = self.subjects is None or subject in self.subjects
        return listed and subject not in self.exclude

    def check(self, known: Collection[str], problems: Problems) -> None:
        """Note listed subjects that do not exist (an error) and excluded ones (a warning)."""
        unknown = sorted(set(self.subjects or ()) - set(known) - set(self.exclude))
        if unknown:
            problems.error(
                "subjects",
                f"names {shorten(unknown)}, which the cohort does not have",
                f"ids such as {shorten(sorted(known), 3) or '(the cohort is empty)'}",
                "correct the list; quote ids that look like numbers",
            )
        needless = sorted(set(self.exclude) - set(known))
        if needless:
            problems.warn(
                "exclude",
                f"names {shorten(needless)}, which the cohort does not have",
                action="correct the ids (quote those that look like numbers), or take them out",
            )

    def apply(self, scans: Sequence[Scan], problems: Problems) -> tuple[Scan, ...]:
        """Return the scans that pass, with a warning for each kind that was left out."""
        kept = list(scans)
        if self.require_modalities:
            kept = _keep(
                kept, [None not in scan.images for scan in kept], "lack a modality", problems
            )
        limit = self.max_birth_age
        if limit is not None:
            birth = [scan.birth_age for scan in kept]
            known = [age is not None for age in birth]
            kept = _keep(kept, known, "have no known birth age (max_birth_age is set)", problems)
            kept = [s for s in kept if s.birth_age is not None and s.birth_age <= limit]
        if self.max_subjects is not None:
            first = sorted({scan.subject for scan in kept})[: self.max_subjects]
            kept = [scan for scan in kept if scan.subject in first]
        if scans and not kept:
            problems.error(
                "filters",
                f"leave none of the {len(scans)} scans",
                action="loosen max_birth_age or require_modalities",
                kind="no-scans",
            )
        return tuple(kept)


def _keep(
    scans: Sequence[Scan], passes: Sequence[bool], why: str, problems: Problems
) -> list[Scan]:
    left_out = [scan.id for scan, good in zip(scans, passes, strict=True) if not good]
    if left_out:
        problems.warn(
            "filters",
            f"{len(left_out)} scans {why} and are left out: {shorten(left_out)}",
            action="complete the tables or files, or change the filter, if they should take part",
            kind="left-out",
        )
    return [scan for scan, good in zip(scans, passes, strict=True) if good]
