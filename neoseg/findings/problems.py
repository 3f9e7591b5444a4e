"""Collect what is wrong with a cohort, so that it is told in one go."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from neoseg.errors import NeosegError, printable
from neoseg.findings.kinds import KINDS

log = logging.getLogger(__name__)

OnError = Literal["stop", "skip", "collect"]
"""What errors do: stop; skip those that name the scans which they concern, and these scans; or
collect all that a cohort can be put together with, to be told later.
"""


@dataclass(frozen=True)
class Problem:
    """One finding: the file or key, what is there, what should be, and what to do about it.

    `kind` is a code of `KINDS`; `scans` are the ids of the scans that cannot be used because of
    an error, empty where it concerns the whole cohort. Names out of files are shown as
    `NeosegError` shows them, wherever the finding is written.
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
        """Where, finding, expectation and remedy as one sentence."""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.where} {self.found}{expected}" + (f"; {self.action}" if self.action else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        return asdict(self) | {"scans": list(self.scans)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Problem:
        """Undo `to_dict`."""
        return cls(**{**raw, "scans": tuple(raw["scans"])})


class CohortError(NeosegError):
    """A cohort, split or annotation plan that cannot be used; lists all errors that were found.

    `warnings` are what was found beside them.
    """

    def __init__(
        self, title: str, problems: Sequence[Problem] = (), warnings: Sequence[Problem] = ()
    ) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join([title, *(f"  - {problem}" for problem in self.problems)]))


@dataclass
class Problems:
    """Errors and warnings found so far."""

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
        """Note something that the cohort, or only the named scans, cannot be used with."""
        self.errors.append(Problem(str(where), found, expected, action, kind, tuple(scans)))

    def warn(
        self, where: object, found: str, expected: str = "", action: str = "", kind: str = "setting"
    ) -> None:
        """Note something that the user should know but that stops nothing."""
        self.warnings.append(Problem(str(where), found, expected, action, kind, severity="warning"))

    def settle(
        self, subject: str, on_error: OnError = "stop", usable: bool = True
    ) -> tuple[Problem, ...]:
        """Log the warnings and return them, with the errors that `on_error` puts up with.

        Nothing is logged where all is collected; `usable` tells whether anything could come of it.

        Raises:
            CohortError: with every error, if there are any others.
        """
        if on_error != "collect":
            for warning in self.warnings:
                log.warning("%s: %s", subject, warning)
        bearable = (
            usable
            and {
                "stop": not self.errors,
                "skip": all(error.scans for error in self.errors),
                "collect": True,
            }[on_error]
        )
        if self.errors and not bearable:
            number = len(self.errors)
            noun = "problem" if number == 1 else "problems"
            raise CohortError(
                f"{subject} cannot be used, {number} {noun}:", self.errors, self.warnings
            )
        return (*self.errors, *self.warnings)

    def skipped(self, on_error: OnError) -> frozenset[str]:
        """Return the ids of the scans that are left out because of an error."""
        if on_error == "stop":
            return frozenset()
        return frozenset(scan for error in self.errors for scan in error.scans)


def shorten(names: Iterable[object], limit: int = 8) -> str:
    """Write names as a list of at most `limit`, with the number of the rest."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
