"""The phantom as a cohort: generated where it is missing, then read like any dHCP release."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from filelock import FileLock

from neoseg.cohort.dhcp import read_dhcp
from neoseg.cohort.phantom import PhantomSettings, generate_cohort
from neoseg.cohort.scan import Cohort
from neoseg.labels import LabelSpace


def read_phantom(
    root: str | Path,
    space: LabelSpace,
    *,
    phantom: dict[str, Any],
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **reading: Any,
) -> Cohort:
    """Return the phantom cohort with the given settings, generating it below `root` if needed.

    Each setting that differs from its default is part of the folder's name, so that cohorts with
    different settings lie side by side. Jobs that start together generate it once.

    Args:
        root: folder of all phantom cohorts.
        space: the label space.
        phantom: keywords of `PhantomSettings`.
        workers: processes; the number of cores by default.
        progress: called with (finished, all) scans.
        reading: options of `read_dhcp`.

    Raises:
        ValueError: unknown settings or values out of range.
        CohortError: as `read_dhcp`.
    """
    known = {field.name: field.default for field in fields(PhantomSettings)}
    unknown = sorted(set(phantom) - set(known))
    if unknown:
        raise ValueError(
            f"cohort.phantom has no setting {', '.join(unknown)}; it has {', '.join(known)}"
        )
    settings = PhantomSettings(**phantom)
    parts = [f"{settings.subjects}-subjects", f"{settings.spacing:g}mm", f"seed-{settings.seed}"]
    parts += [
        f"{name}-{getattr(settings, name):g}"
        for name, default in known.items()
        if name not in ("subjects", "spacing", "seed") and getattr(settings, name) != default
    ]
    folder = Path(root).expanduser() / "_".join(parts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        generate_cohort(folder, settings, workers or os.cpu_count() or 1, progress)
    return read_dhcp(folder, space, **reading)
