"""Provenance of a segmentation, stored in a sidecar file, to detect outdated results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neoseg.digests import digest_of, digest_of_content
from neoseg.files import write_json
from neoseg.foreign import read_json
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.store.fingerprint import LAYOUT

REPLACED = "replaces"
"""Key of a sidecar while its label file is replaced: the digest of the one before."""

Known = Literal["absent", "same", "changed", "other run", "other scan", "untold"]


@dataclass(frozen=True)
class Origin:
    """Name, weights and settings of the networks that segment.

    Attributes:
        run: joined names of the run folders.
        weights: digests of the checkpoints.
        settings: digest of all settings that affect the result.
        folders: digest of the paths of the run folders; two sweeps may have jobs of one name.
    """

    run: str
    weights: tuple[str, ...]
    settings: str
    folders: str = ""

    @classmethod
    def of(cls, name: str, runs: Sequence[Path], settings: Mapping[str, Any]) -> Origin:
        """Return the origin for an ensemble of runs; `settings` are all that affect the result."""
        weights = (digest_of(predicting_checkpoint(run)) for run in runs)
        folders = digest_of_content(sorted(str(run.resolve()) for run in runs))
        return cls(name, tuple(sorted(weights)), digest_of_settings(settings), folders)

    def look(self, target: Path, files: Sequence[Path | None]) -> Known:
        """Return whether a label file is what these networks would produce from `files`.

        "absent": there is none, or its writing was interrupted; "other scan": it is of another scan
        of the same name, from another folder; "changed": input files, or weights or settings of the
        same run, have changed; "untold": it is of an earlier version, or was edited since.
        """
        if not os.path.exists(target):  # False if the name is too long
            return "absent"
        try:
            content = read_json(sidecar_of(target))
            current = self._fingerprint(files)
            elsewhere = content.get("place") not in (None, _place_of(files))
            if elsewhere and content["files"] != current["files"]:
                return "other scan"
            known = content["run"] == self.run and content.get("folders") in (None, self.folders)
            present, interrupted = digest_of(target), content.get(REPLACED)
            if present not in (content["labels"], interrupted):
                return "untold"
            if not known and content["weights"] != current["weights"]:
                return "other run"
            if present == interrupted:
                return "absent"
            same = all(content[key] == value for key, value in current.items())
            return "same" if same else "changed"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "untold"

    def clashes(self, target: Path, files: Sequence[Path | None]) -> bool:
        """Return whether the sidecar tells of other weights, settings or files, finished or not."""
        try:
            content = read_json(sidecar_of(target))
            return any(content[key] != value for key, value in self._fingerprint(files).items())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def digest(self, files: Sequence[Path | None]) -> str:
        """Return a digest of everything that the predictions for these files depend on."""
        return digest_of_content(self._fingerprint(files))

    def keep(
        self,
        target: Path,
        files: Sequence[Path | None],
        beside: Mapping[str, Sequence[str]] | None = None,
        coming: Path | None = None,
    ) -> None:
        """Write the sidecar of a label file: its origin, and the fields that BIDS requires.

        Args:
            target: the label file.
            files: images and mask that it was made from.
            beside: other outputs of the scan, see `Beside.listed`.
            coming: the file that is about to become `target`: if that does not come to pass, the
                sidecar tells by the digest of the replaced file that it was interrupted.
        """
        replaced = {REPLACED: digest_of(target)} if coming and target.exists() else {}
        content = {
            "Sources": [path.name for path in files if path is not None],
            "SpatialReference": "orig",
            "run": self.run,
            "folders": self.folders,
            "place": _place_of(files),
            **self._fingerprint(files),
            "labels": digest_of(coming or target),
            **replaced,
            **({} if beside is None else {"beside": beside}),
        }
        write_json(sidecar_of(target), content, indent=1)

    def _fingerprint(self, files: Sequence[Path | None]) -> dict[str, Any]:
        return {
            "weights": list(self.weights),
            "settings": self.settings,
            "files": [None if path is None else digest_of(path) for path in files],
        }


def digest_of_settings(settings: Mapping[str, Any]) -> str:
    """Return a digest of prediction settings, which changes with the normalisation, too."""
    return digest_of_content([LAYOUT, settings])


def _place_of(files: Sequence[Path | None]) -> str:
    """Return a digest of the path of the first image, which does not disclose the path."""
    return digest_of_content(
        [str(path.parent.resolve() / path.name) for path in files if path is not None][:1]
    )


def makers_of(target: Path) -> tuple[str, ...]:
    """Return the digests of the weights and settings that made a label file; empty if unknown."""
    try:
        content = read_json(sidecar_of(target))
        made = (*map(str, content["weights"]), str(content["settings"]))
        return () if content.get(REPLACED) == digest_of(target) else made
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def run_of(target: Path) -> str:
    """Return the name of the run in the sidecar of a label file."""
    return str(read_json(sidecar_of(target))["run"])


def note_of(target: Path) -> str | None:
    """Return the digest of the sidecar of a label file, None without one."""
    try:
        return digest_of(sidecar_of(target))
    except OSError:
        return None


def is_counted(target: Path) -> bool:
    """Return whether a label file is unchanged since its volumes were counted; True if unknown."""
    try:
        content = read_json(sidecar_of(target))
        return bool(content.get("counted", content["labels"]) == digest_of(target))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def note_counted(target: Path) -> None:
    """Record that the volumes are those of the current label file, for `is_counted`."""
    write_json(
        sidecar_of(target),
        {**read_json(sidecar_of(target)), "counted": digest_of(target)},
        indent=1,
    )


def sidecar_of(target: Path) -> Path:
    """Return the JSON file of a label map."""
    return target.with_name(f"{target.name.removesuffix('.gz').removesuffix('.nii')}.json")
