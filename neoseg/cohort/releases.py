"""How the files of the dHCP are named, by release, and what its tissue labels mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """File names without `sub-X_ses-Y_` and extension.

    `images` is keyed by modality and whether the bias field was corrected; `masks` are in order
    of preference.
    """

    number: int
    labels: Mapping[str, str]
    images: Mapping[tuple[str, bool], str]
    masks: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """All file names of the release."""
        return frozenset([*self.labels.values(), *self.images.values(), *self.masks])


RELEASES = (
    Release(
        3,
        {"drawem87": "desc-drawem87_dseg", "drawem9": "desc-drawem9_dseg"},
        {
            ("T2w", False): "T2w",
            ("T2w", True): "desc-restore_T2w",
            ("T1w", False): "T1w",
            ("T1w", True): "desc-restore_T1w",
        },
        ("desc-brain_mask",),
    ),
    Release(
        2,
        {"drawem87": "desc-drawem87_space-T2w_dseg", "drawem9": "desc-drawem9_space-T2w_dseg"},
        {
            ("T2w", False): "T2w",
            ("T2w", True): "desc-restore_T2w",
            ("T1w", False): "space-T2w_T1w",
            ("T1w", True): "desc-restore_space-T2w_T1w",
        },
        ("desc-bet_space-T2w_brainmask", "desc-drawem_space-T2w_brainmask"),
    ),
    Release(
        1,
        {"drawem87": "drawem_all_labels", "drawem9": "drawem_tissue_labels"},
        {
            ("T2w", False): "T2w",
            ("T2w", True): "T2w_restore",
            ("T1w", False): "T1w",
            ("T1w", True): "T1w_restore",
        },
        ("brainmask_bet", "brainmask_drawem"),
    ),
)

LABEL_VALUES = {"drawem87": range(88), "drawem9": range(10)}
"""The integers of each kind of label file; 0 is outside everything."""

COARSER = {
    "drawem9": (
        ("BG",),
        ("CSF",),
        ("cGM",),
        ("WM",),
        ("BKG",),
        ("VENT",),
        ("CBM",),
        ("dGM",),
        ("BS", "BSTEM"),
        ("HA",),
    )
}
"""Abbreviations, per integer, by which a label file is read in a space with finer leaves."""


def own_names(release: Release) -> frozenset[str]:
    """Return the file names that occur in this release only."""
    shared = Counter(name for other in RELEASES for name in other.names)
    return frozenset(name for name in release.names if shared[name] == 1)


def releases_of(files: Iterable[str]) -> list[Release]:
    """Return the releases that files can be told to be of; none where their names are shared."""
    present = frozenset(files)
    return [release for release in RELEASES if own_names(release) & present]
