"""Collect what is wrong with a cohort, so that it is told in one go."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

log = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """One finding: the file or key, what is there, what should be, and what to do about it."""

    where: str
    found: str
    expected: str = ""
    action: str = ""

    def __str__(self) -> str:
        expected = f"expected {self.expected}" if self.expected else ""
        return f"{self.where}: " + "; ".join(p for p in (self.found, expected, self.action) if p)


class CohortError(ValueError):
    """A cohort, split or annotation plan that cannot be used; lists all that was found."""

    def __init__(self, title: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([title, *(f"  - {problem}" for problem in self.problems)]))


@dataclass
class Problems:
    """Errors and warnings found so far."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, where: object, found: str, expected: str = "", action: str = "") -> None:
        """Note something that the cohort cannot be used with."""
        self.errors.append(Problem(str(where), found, expected, action))

    def warn(self, where: object, found: str, expected: str = "", action: str = "") -> None:
        """Note something that the user should know but that stops nothing."""
        self.warnings.append(Problem(str(where), found, expected, action))

    def settle(self, subject: str) -> tuple[str, ...]:
        """Log the warnings and return them as text.

        Raises:
            CohortError: with every error, if there are any.
        """
        for warning in self.warnings:
            log.warning("%s: %s", subject, warning)
        if self.errors:
            number = len(self.errors)
            noun = "problem" if number == 1 else "problems"
            raise CohortError(f"{subject} cannot be used, {number} {noun}:", self.errors)
        return tuple(str(warning) for warning in self.warnings)


def shorten(names: Iterable[object], limit: int = 8) -> str:
    """Write names as a list of at most `limit`, with the number of the rest."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def parse_settings(
    model: type[Settings], raw: Settings | Mapping[str, Any], source: str
) -> Settings:
    """Check `raw` against a settings model; raises `CohortError` that names every wrong key."""
    if isinstance(raw, model):
        return raw
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        problems = [
            Problem(
                ".".join([source, *map(str, item["loc"])]),
                f"found {item['input']!r}" if item["loc"] else "the keys contradict each other",
                action=item["msg"],
            )
            for item in error.errors()
        ]
        raise CohortError(f"{source} is not valid:", problems) from None
