"""Choose among the images of a scan that differ in `space-`, `desc-` and other entities."""

import logging
from collections.abc import Sequence
from pathlib import Path

from neoseg.cohort.picking import Entities, Wish, entities_of, having
from neoseg.findings.problems import shorten
from neoseg.inference.image_names import CORRECTED, ImageName
from neoseg.store import DataError

log = logging.getLogger(__name__)


def in_space(images: Sequence[ImageName], space: str | None) -> list[ImageName]:
    """Keep the images of each scan in the preferred space, else the native ones, else all."""
    spaces: dict[tuple[Path, tuple[str, ...]], set[str | None]] = {}
    for image in images:
        spaces.setdefault((image.path.parent, image.rest), set()).add(image.space)
    kept = []
    for image in images:
        available = spaces[image.path.parent, image.rest]
        best = next((name for name in (space, None) if name in available), image.space)
        if image.space == best:
            kept.append(image)
    if len(kept) < len(images):
        removed = len(images) - len(kept)
        log.info("%d images are copies of a scan in other spaces and are left out", removed)
    return kept


def of_entities(images: Sequence[ImageName], first: str, entities: Entities) -> list[ImageName]:
    """Return the images; of several of the first modality, those that a training would take.

    As in training, they have the entities, or none of their kind where no image of the scan has
    them; where all have others, all are taken. Runs are repetitions, of which each is a scan.
    """
    wanted = {
        key: None if value is None else str(value)
        for key, value in entities.items()
        if key not in ("run", "desc", "space")
    }
    groups: dict[tuple[Path, tuple[str, ...]], list[ImageName]] = {}
    for image in images:
        if wanted and image.modality == first:
            rest = (part for part in image.rest if part.partition("-")[0] not in wanted)
            groups.setdefault((image.path.parent, tuple(rest)), []).append(image)
    left_out, others = set[Path](), list[str]()
    for group in groups.values():
        names = [image.path.name for image in group]
        kept = having(names, wanted) or names
        left_out |= {image.path for image in group if image.path.name not in kept}
        for name in kept:
            own = entities_of(name)
            others += [name] if any(own.get(key) != v for key, v in wanted.items()) else []
    if others:
        log.warning(
            "%d images are taken all the same: the run was trained on %s with %s; these scans have "
            "no such image: %s",
            *(len(others), first, Wish("image", entities=wanted), shorten(others)),
        )
    return [image for image in images if image.path not in left_out]


def choose_desc(
    images: Sequence[ImageName], desc: str | None, usual: str | None
) -> list[ImageName]:
    """Return one image of each scan, sorted; for the arguments see `inputs.find_scans`.

    Raises:
        DataError: scans have several images, of which none is preferred.
    """
    names = [desc] if desc else [*([usual] if usual else []), CORRECTED, "none"]
    preferred = [None if name == "none" else name for name in names]
    scans: dict[tuple[Path, str | None, tuple[str, ...]], dict[str | None, ImageName]] = {}
    for image in images:
        by_desc = scans.setdefault((image.path.parent, image.space, image.rest), {})
        if image.desc in by_desc:  # both .nii and .nii.gz exist
            log.warning("%s is left out, as %s has its name", by_desc[image.desc].path, image.path)
        by_desc[image.desc] = image
    chosen, ambiguous, others = [], [], list[str]()
    for by_desc in scans.values():
        best = next((by_desc[name] for name in preferred if name in by_desc), None)
        if best is None and desc is None:
            best = next(iter(by_desc.values()))
            if len(by_desc) > 1:
                ambiguous.append("  " + ", ".join(str(image.path) for image in by_desc.values()))
        if best is not None:
            chosen.append(best)
            if usual and desc is None and best.desc != preferred[0]:
                others.append(best.path.name)
    if ambiguous:
        raise DataError(
            f"{len(ambiguous)} scans have several images that would do; choose with desc=NAME:\n"
            + "\n".join(ambiguous[:5])
        )
    if others:
        kinds = {"none": "without desc-", CORRECTED: f"with desc-{CORRECTED} (bias-corrected)"}
        log.warning(
            "%d images are taken all the same: the run was trained on images %s, and these scans "
            "have none: %s",
            *(len(others), kinds.get(usual or "", f"with desc-{usual}"), shorten(others)),
        )
    return sorted(chosen, key=lambda image: image.path)
