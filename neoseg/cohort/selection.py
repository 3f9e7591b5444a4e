"""Select the scans of a cohort to use."""

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from pydantic import Field, field_validator

from neoseg.cohort.scan import Scan, bare_id, id_in, ids_in
from neoseg.findings.problems import Problems, shorten
from neoseg.findings.settings import Section


class Selection(Section):
    """Filters common to all cohorts; ids of subjects or scans, with or without `sub-`.

    `keep` has the accepted texts of columns of the data set's tables, see `keep_scans`.
    `max_birth_age` is in weeks and inclusive; it leaves out scans with an unknown birth age.
    """

    subjects: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    keep: dict[str, tuple[str, ...]] | None = None
    max_subjects: int | None = Field(default=None, ge=1)
    max_birth_age: float | None = Field(default=None, gt=0)
    require_modalities: bool = False

    @field_validator("subjects", "exclude", mode="before")
    @classmethod
    def _bare(cls, ids: Any) -> Any:
        if not isinstance(ids, list | tuple):
            return ids
        return tuple(bare_id(str(i), "sub-") if isinstance(i, str | int) else i for i in ids)

    @field_validator("keep", mode="before")
    @classmethod
    def _texts(cls, keep: Any) -> Any:
        if not isinstance(keep, dict):
            return keep
        lists = {str(k): v if isinstance(v, list | tuple) else [v] for k, v in keep.items()}
        return {key: [str(value) for value in values] for key, values in lists.items()}

    def wants(self, subject: str) -> bool:
        """Return whether a scan of a subject (without `sub-`) may pass `subjects` and `exclude`."""
        listed = self.subjects is None or subject in self._people or subject in self._listed
        return listed and subject not in self._excluded

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(self.subjects or ())

    @cached_property
    def _people(self) -> frozenset[str]:
        """The subjects of the scans that `subjects` names."""
        return frozenset(ids_in(name)[0] for name in self._listed)

    @cached_property
    def _excluded(self) -> frozenset[str]:
        return frozenset(self.exclude)

    def check(self, known: Collection[str], problems: Problems) -> None:
        """Record listed subjects that do not exist (an error), and excluded ones (a warning).

        Names of scans of known subjects are checked by `apply`.
        """
        known = set(known)
        unknown = sorted(set(self.subjects or ()) - known - set(self.exclude))
        unknown = [name for name in unknown if ids_in(name)[0] not in known]
        if unknown:
            problems.error(
                "subjects",
                f"names {shorten(unknown)}, which the cohort does not have",
                f"ids such as {shorten(sorted(known), 3) or '(the cohort is empty)'}",
                "correct the list; quote ids that look like numbers",
            )
        unknown_excluded = sorted(set(self.exclude) - known)
        unknown_excluded = [name for name in unknown_excluded if ids_in(name)[0] not in known]
        respelled = {name: id_in(name, known) for name in unknown_excluded}
        if meant := {name: found for name, found in respelled.items() if found in known}:
            problems.error(
                "exclude",
                f"names {shorten(meant)}, which the cohort calls {shorten(meant.values())}",
                "ids as the cohort has them",
                "correct the list; nobody is left out for these names",
            )
        unknown_excluded = [name for name in unknown_excluded if name not in meant]
        if unknown_excluded:
            problems.warn(
                "exclude",
                f"names {shorten(unknown_excluded)}, which the cohort does not have",
                action="correct the ids (quote those that look like numbers), or take them out",
            )

    def _takes(self, scan: Scan) -> bool:
        names = {scan.subject, bare_id(scan.id, "sub-")}
        listed = self.subjects is None or not names.isdisjoint(self._listed)
        return listed and names.isdisjoint(self._excluded)

    def _check_scans(self, scans: Sequence[Scan], problems: Problems) -> None:
        """Record names that are neither a subject nor a scan, though some scan may be meant."""
        ids = {bare_id(scan.id, "sub-"): scan.subject for scan in scans}
        plain = {re.sub(r"[\W_]", "", scan): scan for scan in ids}
        for key, names in (("subjects", self.subjects or ()), ("exclude", self.exclude)):
            for name in sorted({*names} - {*ids} - {*ids.values()}):
                letters = re.sub(r"[\W_]", "", name)
                meant = plain.get(letters) or plain.get(letters.removeprefix("sub"))
                if meant is not None:
                    found = f"names {name}, which the cohort calls {meant}"
                    problems.error(key, found, "ids as the cohort has them", "correct the list")
                elif ids_in(name)[1] is not None and ids_in(name)[0] in ids.values():
                    found = f"names the scan {name}, which the cohort does not have"
                    problems.warn(key, found, action="correct the ids, or take them out")

    def apply(self, scans: Sequence[Scan], problems: Problems) -> tuple[Scan, ...]:
        """Return the scans that pass, with a warning for each filter that removes some."""
        kept = [scan for scan in scans if self._takes(scan)]
        self._check_scans(scans, problems)
        if self.require_modalities:
            kept = _filter(
                kept, [None not in scan.images for scan in kept], "lack a modality", problems
            )
        limit = self.max_birth_age
        if limit is not None:
            birth = [scan.birth_age for scan in kept]
            has_age = [age is not None for age in birth]
            kept = _filter(
                kept, has_age, "have no known birth age (max_birth_age is set)", problems
            )
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


def _filter(
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
