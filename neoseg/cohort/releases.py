"""File names of the dHCP by release, and the meaning of its tissue labels."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """File names of a release, without `sub-X_ses-Y_` and extension.

    `images` is keyed by (modality, bias-corrected); `masks` are in order of preference.
    """

    number: int
    labels: Mapping[str, str]
    images: Mapping[tuple[str, bool], str]
    masks: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """All file names of the release."""
        return frozenset([*self.labels.values(), *self.images.values(), *self.masks])


def _release(number: int, labels: str, images: str, masks: str) -> Release:
    """Build a release from names: labels with 87 structures and 9 tissues; T2w and T1w, each raw
    and bias-corrected; masks.
    """
    keys = (("T2w", False), ("T2w", True), ("T1w", False), ("T1w", True))
    return Release(
        number,
        dict(zip(("drawem87", "drawem9"), labels.split(), strict=True)),
        dict(zip(keys, images.split(), strict=True)),
        tuple(masks.split()),
    )


RELEASES = (
    _release(
        3,
        "desc-drawem87_dseg desc-drawem9_dseg",
        "T2w desc-restore_T2w T1w desc-restore_T1w",
        "desc-brain_mask",
    ),
    _release(
        2,
        "desc-drawem87_space-T2w_dseg desc-drawem9_space-T2w_dseg",
        "T2w desc-restore_T2w space-T2w_T1w desc-restore_space-T2w_T1w",
        "desc-bet_space-T2w_brainmask desc-drawem_space-T2w_brainmask",
    ),
    _release(
        1,
        "drawem_all_labels drawem_tissue_labels",
        "T2w T2w_restore T1w T1w_restore",
        "brainmask_bet brainmask_drawem",
    ),
)

LABEL_VALUES = {"drawem87": range(88), "drawem9": range(10)}
"""The integers of each kind of label file; 0 is outside of all structures."""

TISSUES = "BG CSF cGM WM BKG VENT CBM dGM BS/BSTEM HA"
COARSER = {"drawem9": tuple(tuple(names.split("/")) for names in TISSUES.split())}
"""Abbreviations per integer, with which a label file is read in a space of finer leaves."""


def releases_of(files: Iterable[str]) -> list[Release]:
    """Return the releases with names that are specific to them among `files`."""
    count = Counter(name for release in RELEASES for name in release.names)
    specific = {name for name in files if count[name] == 1}
    return [release for release in RELEASES if release.names & specific]
