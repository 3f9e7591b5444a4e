"""The phantom as a cohort: generate it if missing, then read it like a dHCP release."""

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from neoseg.capacity import usable_cores
from neoseg.cohort.dhcp import read_dhcp
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.scan import Cohort
from neoseg.digests import digest_of_content
from neoseg.findings.problems import CohortError
from neoseg.labels import LabelSpace
from neoseg.locks import locked


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

    The folder name contains a fingerprint of all settings, so cohorts with different settings
    coexist. A lock makes concurrent jobs generate it only once. `phantom` holds the keywords of
    `PhantomSettings`, `reading` the options of `read_dhcp`; `workers` processes are used, by
    default one per core. `progress` is called with the numbers of (finished, all) scans.

    Raises:
        CohortError: unknown settings, values out of range, or as `read_dhcp`.
    """
    # Imported here: it takes a quarter of a second, and all readers are imported together.
    from neoseg.cohort.phantom.generation import VERSION, generate_cohort

    setting_names = [field.name for field in fields(PhantomSettings)]
    unknown = sorted(set(phantom) - set(setting_names))
    if unknown:
        raise CohortError(
            f"cohort.phantom has no setting {', '.join(unknown)}; it has {', '.join(setting_names)}"
        )
    try:
        settings = PhantomSettings(**phantom)
    except ValueError as error:
        raise CohortError(f"cohort.phantom: {error}") from None
    key = digest_of_content([VERSION, asdict(settings)])[:8]
    name = f"{settings.subjects}-subjects_{settings.spacing:g}mm_seed-{settings.seed}"
    folder = Path(root).expanduser() / f"{name}_{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock")):
        generate_cohort(folder, settings, workers or usable_cores(), progress)
    return read_dhcp(folder, space, **reading)
