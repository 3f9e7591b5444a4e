"""Collect the problems of a cohort, to report all of them at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from neoseg.errors import NeosegError, printable
from neoseg.findings.kinds import KINDS

log = logging.getLogger(__name__)

OnError = Literal["stop", "skip", "collect"]
"""How errors are handled: "stop" raises; "skip" leaves out the scans that errors name; "collect"
tolerates every error with which a cohort can still be assembled, to be reported later.
"""


@dataclass(frozen=True)
class Problem:
    """One problem: the file or key, what was found, what was expected, and what to do about it.

    `kind` is a code in `KINDS`; `scans` are the ids of the scans that an error makes unusable, or
    empty if it concerns the whole cohort. Control characters, as in names read from files, are
    escaped as in `NeosegError`, wherever the problem is written.
    """

    where: str
    found: str
    expected: str = ""
    action: str = ""
    kind: str = "setting"
    scans: tuple[str, ...] = ()
    severity: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"'{self.kind}' is not a kind of problem; add it to KINDS")
        for name in ("where", "found", "expected", "action"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        expected = f"expected {self.expected}" if self.expected else ""
        return f"{self.where}: " + "; ".join(p for p in (self.found, expected, self.action) if p)

    @property
    def sentence(self) -> str:
        """Location, finding, expectation and remedy as one sentence."""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.where} {self.found}{expected}" + (f"; {self.action}" if self.action else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON."""
        return asdict(self) | {"scans": list(self.scans)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Problem:
        """Return the problem of which `to_dict` returned `raw`."""
        return cls(**{**raw, "scans": tuple(raw["scans"])})


warning = partial(Problem, severity="warning")
"""A problem that the user should know about but that stops nothing."""


class CohortError(NeosegError):
    """A cohort, split or annotation plan that cannot be used; the message lists all errors.

    `warnings` are the warnings recorded along with them.
    """

    def __init__(
        self, title: str, problems: Sequence[Problem] = (), warnings: Sequence[Problem] = ()
    ) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join([title, *(f"  - {problem}" for problem in self.problems)]))


@dataclass
class Problems:
    """Errors and warnings recorded so far."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(
        self,
        where: object,
        found: str,
        expected: str = "",
        action: str = "",
        kind: str = "setting",
        scans: Iterable[str] = (),
    ) -> None:
        """Record a problem that makes the cohort, or only the named scans, unusable."""
        self.errors.append(Problem(str(where), found, expected, action, kind, tuple(scans)))

    def warn(
        self, where: object, found: str, expected: str = "", action: str = "", kind: str = "setting"
    ) -> None:
        """Record a problem that the user should know about but that stops nothing."""
        self.warnings.append(Problem(str(where), found, expected, action, kind, severity="warning"))

    def settle(
        self, subject: str, on_error: OnError = "stop", usable: bool = True
    ) -> tuple[Problem, ...]:
        """Log the warnings and return them, after the errors that `on_error` tolerates.

        Args:
            subject: name of the cohort or plan in messages.
            on_error: how errors are handled; with "collect" nothing is logged.
            usable: whether a result could be assembled at all; if not, every error is fatal.

        Raises:
            CohortError: lists every error, if any is not tolerated.
        """
        if on_error != "collect":
            for warning in self.warnings:
                log.warning("%s: %s", subject, warning)
        tolerated = (
            usable
            and {
                "stop": not self.errors,
                "skip": all(error.scans for error in self.errors),
                "collect": True,
            }[on_error]
        )
        if self.errors and not tolerated:
            count = len(self.errors)
            noun = "problem" if count == 1 else "problems"
            raise CohortError(
                f"{subject} cannot be used, {count} {noun}:", self.errors, self.warnings
            )
        return (*self.errors, *self.warnings)

    def skipped(self, on_error: OnError) -> frozenset[str]:
        """Return the ids of the scans that are left out because of an error."""
        if on_error == "stop":
            return frozenset()
        return frozenset(scan for error in self.errors for scan in error.scans)


def shorten(names: Iterable[object], limit: int = 8) -> str:
    """Return a text with at most `limit` of the names, and the number of the remaining ones."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
