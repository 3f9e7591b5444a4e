"""A cohort in a configuration: the function that reads it, and its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
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
from neoseg.findings.settings import ConfigError, Section
from neoseg.labels import LabelSpace

GIVEN = ("space", "progress", "on_error", "reading")
"""Arguments of a reader that no configuration gives."""


class Reader(Section):
    """What a user writes in `conf/cohort/*.yaml`: a function `read_...` and its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    target: str = Field(alias="_target_")
    convert: str = Field(default="all", alias="_convert_")
    name: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Everything that is handed to the reader."""
        named = {} if self.name is None else {"name": self.name}
        return {**named, **(self.model_extra or {})}

    def wrong_keys(self, allow: Sequence[str], key: str = "cohort") -> Iterator[str]:
        """Yield what the reader cannot be called with; it is imported where that is allowed."""
        try:
            raw = {"_target_": self.target, **self.options}
            require_targets(raw, COHORTS, callable, "reader", READERS, allow)
        except TargetError as error:
            yield f"{key} cannot be read: {error}; choose one of conf/cohort with cohort=<name>"
            return
        known = set(inspect.signature(find_object(self.target)).parameters)
        if "reading" in known:  # the rest of them goes on to another reader
            known |= set(inspect.signature(find_object("neoseg.cohort.read_dhcp")).parameters)
        known -= set(GIVEN)
        for option in self.model_extra or {}:
            if option not in known:
                yield f"there is no key '{key}.{option}'{nearest(option, sorted(known))}"
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
        """Read the cohort, which generates the phantom where it is missing.

        Raises:
            ConfigError: options that the reader does not take.
            CohortError: what is wrong with the data.
        """
        reader = find_object(self.target)
        given: dict[str, Any] = {"on_error": on_error} if on_error != "stop" else {}
        if "progress" in inspect.signature(reader).parameters:
            given["progress"] = progress
        try:
            found = reader(space=space, **self.options, **given)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise ConfigError(f"cohort does not fit {self.target}: {error}") from None
        if not isinstance(found, Cohort):
            raise ConfigError(f"{self.target} gives {type(found).__name__}, expected a Cohort")
        return found
