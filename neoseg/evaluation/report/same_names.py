"""Scans of different people that have the same names in several runs."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neoseg.evaluation.report.run_files import FinishedRun, images_of
from neoseg.foreign import value_at

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _People:
    """The scans of one cohort: a run that was tested on them, and the digest of each image."""

    run: str
    images: dict[str, str]

    def has(self, images: dict[str, str]) -> bool:
        """Whether no scan shows another image here."""
        return all(self.images.get(scan, digest) == digest for scan, digest in images.items())


def tell_apart(
    runs: Sequence[FinishedRun],
    configs: Sequence[Mapping[str, Any]],
    frames: Sequence[pd.DataFrame],
) -> list[list[str]]:
    """Rename cohorts in which scans of the same names show other images than in an earlier run.

    They are other people, or the same ones whose images were prepared anew; either way their scores
    make no pairs. The cohort keeps its name in the first such run.

    Args:
        runs: of the report.
        configs: of each; images of different kinds (modality, `desc-`, `space-`) are not compared.
        frames: the scores of each; their column `cohort` is changed.

    Returns:
        The new names of each run.
    """
    known: dict[str, list[_People]] = {}
    renamed = []
    for run, config, frame in zip(runs, configs, frames, strict=True):
        names = {}
        for cohort, images in images_of(run.path).items():
            groups = known.setdefault(f"{cohort} {_kind_of(config, cohort)}", [])
            fitting = [number for number, people in enumerate(groups) if people.has(images)]
            number = fitting[0] if fitting else len(groups)
            if not fitting:
                groups.append(_People(run.name, {}))
            groups[number].images.update(images)
            if number:
                names[cohort] = f"{cohort} ({number + 1})"
                log.warning(
                    "scans of cohort '%s' show other images in %s than scans of the same names in "
                    "%s: they count as other people, as '%s'; give each cohort a name of its own "
                    "(cohort.name=NAME)",
                    *(cohort, run.name, groups[0].run, names[cohort]),
                )
        frame["cohort"] = frame["cohort"].replace(names)
        renamed.append(list(names.values()))
    return renamed


def _kind_of(config: Mapping[str, Any], cohort: str) -> str:
    """Return which images of a cohort a run reads first."""
    extra = value_at(config, f"extra_cohorts.{cohort}.cohort")
    section = value_at(config, "cohort", {}) if extra is None else extra
    keys = ("modalities", "image_desc", "image_entities", "restore", "images")
    return json.dumps([section.get(key) for key in keys], default=str)
