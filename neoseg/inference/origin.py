"""What a segmentation was made of, kept beside it: whether it is what is asked for now."""

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

Known = Literal["absent", "same", "changed", "other run", "other scan", "untold"]


@dataclass(frozen=True)
class Origin:
    """Networks, settings and name of what segments; the files of a scan come with each question."""

    run: str
    weights: tuple[str, ...]
    settings: str

    @classmethod
    def of(cls, name: str, runs: Sequence[Path], settings: Mapping[str, Any]) -> Origin:
        """Return that of runs that segment together; settings are whatever changes the result."""
        weights = (digest_of(predicting_checkpoint(run)) for run in runs)
        return cls(name, tuple(sorted(weights)), digest_of_content(settings))

    def look(self, target: Path, files: Sequence[Path | None]) -> Known:
        """Tell whether a label file is what these networks would make of the files of a scan.

        "other scan" is one of the same name from another folder; "changed" are its files, or
        weights or settings of the same run; "untold" is a label file of an earlier version, or one
        that somebody has worked on since.
        """
        if not os.path.exists(target):  # none where the name is too long
            return "absent"
        try:
            content = read_json(_beside(target))
            asked = self._made_of(files)
            elsewhere = content.get("place") not in (None, _place_of(files))
            if elsewhere and content["files"] != asked["files"]:
                return "other scan"
            if content["labels"] != digest_of(target):
                return "untold"
            if all(content[key] == value for key, value in asked.items()):
                return "same"
            same_run = content["run"] == self.run or content["weights"] == asked["weights"]
            return "changed" if same_run else "other run"
        except (OSError, ValueError, KeyError, TypeError):
            return "untold"

    def keep(self, target: Path, files: Sequence[Path | None]) -> None:
        """Write beside a label file what it was made of, and what BIDS asks of it."""
        content = {
            "Sources": [path.name for path in files if path is not None],
            "SpatialReference": "orig",
            "run": self.run,
            "place": _place_of(files),
            **self._made_of(files),
            "labels": digest_of(target),
        }
        write_json(_beside(target), content, indent=1)

    def _made_of(self, files: Sequence[Path | None]) -> dict[str, Any]:
        return {
            "weights": list(self.weights),
            "settings": self.settings,
            "files": [None if path is None else digest_of(path) for path in files],
        }


def _place_of(files: Sequence[Path | None]) -> str:
    """Return a digest of where the first image of a scan lies, which does not tell the path."""
    return digest_of_content([str(path.resolve()) for path in files if path is not None][:1])


def is_counted(target: Path) -> bool:
    """Tell whether a label file is as it was when its volumes were counted, as far as is told."""
    try:
        content = read_json(_beside(target))
        return bool(content.get("counted", content["labels"]) == digest_of(target))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def note_counted(target: Path) -> None:
    """Keep that the volumes are those of a label file as it is, which `is_counted` told of."""
    write_json(
        _beside(target), {**read_json(_beside(target)), "counted": digest_of(target)}, indent=1
    )


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name.removesuffix('.gz').removesuffix('.nii')}.json")
