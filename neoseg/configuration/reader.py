"""The `cohort` section of a configuration: a reader function and its options."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from neoseg.buildable import (
    COHORTS,
    READERS,
    TargetError,
    find_object,
    require_targets,
)
from neoseg.cohort import Cohort
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import OnError
from neoseg.findings.settings import ConfigError, Section, wrong_type
from neoseg.labels import Convention, LabelSpace

MAX_LISTED = 5
"""Largest number of faults of a reader's cohort that a message lists."""

_RESERVED = ("space", "progress", "on_error", "reading")
"""Arguments of a reader that a configuration cannot set."""


class Reader(Section):
    """Settings of `conf/cohort/*.yaml`: a function `read_...` and its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    target: str = Field(alias="_target_")
    convert: str = Field(default="all", alias="_convert_")
    name: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options that are passed to the reader."""
        named = {} if self.name is None else {"name": self.name}
        return {**named, **(self.model_extra or {})}

    def wrong_keys(self, allow: Sequence[str], key: str = "cohort") -> Iterator[str]:
        """Yield a message for each invalid key; the reader is imported if that is allowed."""
        try:
            raw = {"_target_": self.target, **self.options}
            require_targets(raw, COHORTS, callable, "reader", READERS, allow)
        except TargetError as error:
            yield f"{key} cannot be read: {error}; choose one of conf/cohort with cohort=<name>"
            return
        parameters = {**inspect.signature(find_object(self.target)).parameters}
        known = set(parameters)
        if "reading" in known:  # **reading is passed on to `read_dhcp`
            passed = inspect.signature(find_object("neoseg.cohort.read_dhcp")).parameters
            parameters = {**passed, **parameters}
            known |= set(passed)
        takes_any = "reading" not in known and _takes(parameters, None)
        known -= set(_RESERVED)
        for option, value in (self.model_extra or {}).items():
            if option not in known and not takes_any:
                yield f"there is no key '{key}.{option}'{nearest(option, sorted(known))}"
            elif option in parameters:
                yield from wrong_type(f"{key}.{option}", value, parameters[option])
        phantom = self.options.get("phantom")
        if isinstance(phantom, Mapping):
            names = [field.name for field in fields(PhantomSettings)]
            for option in phantom:
                if option not in names:
                    yield f"there is no key '{key}.phantom.{option}'{nearest(option, names)}"

    def read_cohort(
        self,
        space: LabelSpace,
        on_error: OnError = "stop",
        progress: Callable[[int, int], None] | None = None,
    ) -> Cohort:
        """Read the cohort; the phantom is generated if it does not exist.

        Raises:
            ConfigError: options that the reader does not accept.
            CohortError: invalid data.
        """
        reader = find_object(self.target)
        parameters = inspect.signature(reader).parameters
        arguments: dict[str, Any] = {}
        if on_error != "stop" and _takes(parameters, "on_error"):
            arguments["on_error"] = on_error
        if "progress" in parameters:
            arguments["progress"] = progress
        try:
            cohort = reader(space=space, **self.options, **arguments)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise ConfigError(f"cohort does not fit {self.target}: {error}") from None
        if not isinstance(cohort, Cohort):
            raise ConfigError(f"{self.target} gives {type(cohort).__name__}, expected a Cohort")
        if wrong := list(_wrong_parts(cohort)):
            raise ConfigError(
                f"{self.target} gives a cohort that cannot be used:\n"
                + "\n".join(f"  - {line}" for line in wrong[:MAX_LISTED])
            )
        return cohort


def _takes(parameters: Mapping[str, inspect.Parameter], name: str | None) -> bool:
    """Return whether a function takes an argument; with None, whether it takes any."""
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _wrong_parts(cohort: Cohort) -> Iterator[str]:
    """Yield what the rest of neoseg cannot work with, of a reader that is not neoseg's."""
    if not isinstance(cohort.convention, Convention):
        yield f"its convention is a {type(cohort.convention).__name__}, expected a Convention"
    number, seen = len(cohort.modalities), set[str]()
    for scan in cohort.scans:
        if scan.id in seen:
            yield f"{scan.id} is there twice; give each scan a session of its own"
        seen.add(scan.id)
        if scan.cohort != cohort.name:
            yield f"{scan.id} is of cohort {scan.cohort!r}, expected {cohort.name!r}, its `name`"
        if len(scan.images) != number or scan.images[0] is None:
            yield (
                f"{scan.id} has {len(scan.images)} images for {number} modalities; expected one "
                "each, None where one is missing, but not for the first"
            )
        odd = [p for p in (*scan.images, scan.label, scan.mask) if not isinstance(p, Path | None)]
        if odd:
            yield f"{scan.id} has {odd[0]!r} as a file, expected a pathlib.Path"
        ages = (scan.scan_age, scan.birth_age)
        if any(not isinstance(age, Real | None) for age in ages):
            yield f"{scan.id} has the ages {ages}, expected weeks as numbers, or None"
