"""Outputs of a scan beside its label map: probabilities, label sets, a picture, a table row.

The sidecar of the label map lists what each was made from, so that they never stay beside a label
map of other weights or settings, and are not taken for what is asked now.
"""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from neoseg.files import write_json
from neoseg.foreign import read_json
from neoseg.inference.dataset import DESC, files_in, forget_row, tables_locked
from neoseg.inference.origin import sidecar_of


@dataclass(frozen=True)
class Beside:
    """The outputs beside one label map.

    They are named by their path in the data set, or by the table in which the scan has a row.

    Attributes:
        output: root of the data set.
        target: the label map.
        base: digest of all that predictions of this scan depend on now, see `Origin.digest`.
    """

    output: Path
    target: Path
    base: str

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Return whether all outputs are there, made from `base` and from what `wanted` says."""
        known = self._known()
        return all(
            known.get(name) == (self.base, made) and self._is_there(name)
            for name, made in wanted.items()
        )

    def clear(self, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
        """Remove outputs that were not made from `base`; return the others but for the `wanted`.

        Called before `wanted` are written, which the sidecar does not list until they are.
        """
        known = self._known()
        kept = {k: v for k, v in known.items() if v[0] == self.base and k not in wanted}
        for name in known.keys() - kept.keys() - set(wanted):
            if _is_table(name):
                with tables_locked(self.output):
                    forget_row(self.output, self.target, name)
            elif self._is_own(name):
                with suppress(FileNotFoundError):
                    self._path(name).unlink()
        if kept != known:
            sidecar = sidecar_of(self.target)
            write_json(sidecar, {**read_json(sidecar), "beside": _plain(kept)}, indent=1)
        return kept

    def listed(
        self, kept: Mapping[str, tuple[str, str]], wanted: Mapping[str, str]
    ) -> dict[str, list[str]]:
        """Return what the sidecar lists when `wanted` are written."""
        return _plain({**kept, **{name: (self.base, made) for name, made in wanted.items()}})

    def _known(self) -> dict[str, tuple[str, str]]:
        try:
            listed = read_json(sidecar_of(self.target))["beside"]
            return {str(name): (str(base), str(made)) for name, (base, made) in listed.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # of an earlier version

    def _is_there(self, name: str) -> bool:
        if not _is_table(name):
            return self._path(name).exists()
        return self.target.relative_to(self.output).as_posix() in files_in(self.output, name)

    def _path(self, name: str) -> Path:
        return self.output.joinpath(*PurePosixPath(name).parts)

    def _is_own(self, name: str) -> bool:
        """Return whether a name, which a stranger may have written, is an output of this scan."""
        stem = self.target.name.removesuffix(f"_desc-{DESC}_dseg.nii.gz")
        folder = Path(os.path.abspath(self._path(name).parent))
        inside = folder.resolve().is_relative_to(self.output.resolve())
        return inside and self._path(name).name.startswith(f"{stem}_")


def _is_table(name: str) -> bool:
    return "." not in name


def _plain(listed: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    return {name: list(digests) for name, digests in listed.items()}
