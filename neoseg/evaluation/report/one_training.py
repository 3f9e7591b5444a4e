"""Runs that are one training, such as draws that chose the same people with the same seed.

Their scores differ by rounding at most, so they must not count as several draws.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg.cohort.table import read_rows
from neoseg.digests import digest_of_content
from neoseg.findings.problems import Problems

PLAN = "annotation.csv"
"""Who of the training was annotated how, in the folder of a run."""

_PLACES = ("paths", "logger", "cluster", "hydra", "pictures", "score")
"""Sections of a configuration on which no weight depends."""


def same_trainings(
    folders: Sequence[Path], configs: Sequence[Mapping[str, Any]]
) -> list[tuple[int, ...]]:
    """Return groups of runs, by index, with equal settings, seed and annotated people.

    Runs whose draw chooses slices as well are never equal.
    """
    groups: dict[str, list[int]] = {}
    for number, (folder, config) in enumerate(zip(folders, configs, strict=True)):
        if (key := _key(folder, config)) is not None:
            groups.setdefault(key, []).append(number)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _key(folder: Path, config: Mapping[str, Any]) -> str | None:
    annotation = config.get("annotation")
    if not isinstance(annotation, dict) or _has_slices([annotation, config.get("extra_cohorts")]):
        return None
    rows = read_rows(folder / PLAN, ("split",), Problems(), folder)
    people = sorted(sorted(row.items()) for row in rows if row["split"] != "test")
    settings = {key: value for key, value in config.items() if key not in _PLACES}
    settings["annotation"] = {k: v for k, v in annotation.items() if k != "draw"}
    return digest_of_content([settings, people]) if people else None


def _has_slices(node: Any) -> bool:
    """Return whether any annotation protocol at any depth shows slices only."""
    if isinstance(node, dict):
        return bool(node.get("slices")) or any(map(_has_slices, node.values()))
    return isinstance(node, list) and any(map(_has_slices, node))
