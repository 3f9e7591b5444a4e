"""A reader of cohorts."""

from collections.abc import Sequence
from pathlib import Path

from neoseg.cohort import Cohort, CohortError, Scan
from neoseg.labels import Convention, LabelSpace


def read_flat(
    root: str, space: LabelSpace, *, name: str = "flat", modalities: Sequence[str] = ("T2w",)
) -> Cohort:
    """Find `<subject>_image.nii.gz` with `<subject>_labels.nii.gz` beside it."""
    scans = []
    for image in sorted(Path(root).glob("*_image.nii.gz")):
        subject = image.name.removesuffix("_image.nii.gz")
        label = image.with_name(f"{subject}_labels.nii.gz")
        scans.append(
            Scan(
                subject=subject,
                session=None,
                images=(image,),
                label=label if label.is_file() else None,
                mask=None,
                scan_age=None,
                birth_age=None,
                cohort=name,
            )
        )
    if not scans:
        raise CohortError(f"{root} holds no *_image.nii.gz")
    return Cohort(name, tuple(scans), Convention.identity(space), tuple(modalities))
