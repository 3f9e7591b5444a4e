"""The prepared store: each scan read once, kept as compressed, memory-mapped chunks."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from neoseg.capacity import count_processes
from neoseg.cohort import Cohort, Problem, Scan
from neoseg.digests import digests_kept
from neoseg.files import building
from neoseg.labels import Convention
from neoseg.locks import locked
from neoseg.processes import work_through
from neoseg.store.entry import (
    CODES,
    IMAGE,
    LOCATIONS,
    DamagedError,
    StoreEntry,
    open_entry,
    write_array,
    write_record,
)
from neoseg.store.examined import Examined, entries_of
from neoseg.store.fingerprint import fingerprint
from neoseg.store.locations import sample_locations, write_locations
from neoseg.store.nifti import DataError
from neoseg.store.preprocess import PrepareSettings, prepare_labels
from neoseg.store.reading import read_scan

log = logging.getLogger(__name__)

DIGESTS = "digests.json"
"""In a store: the digests of the files that its cohorts have, so that none is read again."""


class Store:
    """Entries below one root, keyed by a fingerprint of input files and settings."""

    def __init__(self, root: Path, settings: PrepareSettings) -> None:
        self.root = root
        self.settings = settings

    def folder(self, scan: Scan, cohort: Cohort) -> Path:
        """Return where the entry of a scan lies, whether or not it is there yet."""
        key = fingerprint(scan, scan.meaning(cohort.convention), self.settings)
        return self.root / cohort.name / f"{scan.id}-{key}"

    def prepare(
        self, cohort: Cohort, scans: Sequence[Scan], progress: Callable[[str], None] | None = None
    ) -> list[StoreEntry]:
        """Return the entries of `scans` in order, building what is missing.

        Raises:
            DataError: after all scans were tried, listing every problem that was found.
        """
        return entries_of(cohort, self.examine(cohort, scans, progress))

    def examine(
        self,
        cohort: Cohort,
        scans: Sequence[Scan],
        progress: Callable[[str], None] | None = None,
        verify: bool = False,
    ) -> list[Examined]:
        """Return what came of each scan, in order, after building the entries that are missing.

        Scans in the store are not read again. `verify` compares checksums of what is there.

        Raises:
            DataError: a store that cannot be written.
            ProcessError: a process that was killed.
        """
        found: dict[int, Examined] = {}
        missing: list[int] = []
        with digests_kept(self.root / DIGESTS):
            for number, scan in enumerate(scans):
                known = self._known(scan, cohort, verify)
                if known is None:
                    missing.append(number)
                    continue
                found[number] = known
                if progress is not None:
                    progress(scan.id)
        sizes = [_size(scans[number].images[0]) for number in missing]
        processes = count_processes(self.settings.processes, sizes)
        build = partial(self._made, cohort=cohort, verify=verify)
        waiting = [scans[number] for number in missing]
        for place, made in work_through(build, waiting, processes, "store.processes"):
            for note in made.problems:
                if note.kind == "damaged-entry":
                    log.warning("%s", note)
            found[missing[place]] = made
            if progress is not None:
                progress(made.scan.id)
        return [found[number] for number in range(len(scans))]

    def _known(self, scan: Scan, cohort: Cohort, verify: bool) -> Examined | None:
        """Return what is known of a scan without reading it; None where it has to be built."""
        try:
            folder = self.folder(scan, cohort)
            if not folder.exists():
                return None
            return Examined.of_entry(*open_entry(scan, folder, verify), cohort.convention)
        except DataError as error:
            return Examined.failed(scan, error)
        except DamagedError:
            return None

    def _made(self, scan: Scan, cohort: Cohort, verify: bool) -> Examined:
        """Build an entry, or take that of a process which was faster."""
        try:
            folder = self.folder(scan, cohort)
            with _writing(folder.parent):
                folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f"{folder.name}.lock")):
                damage = ""
                if folder.exists():
                    try:
                        return Examined.of_entry(
                            *open_entry(scan, folder, verify), cohort.convention
                        )
                    except DamagedError as error:
                        damage = str(error)
                self._build(scan, scan.meaning(cohort.convention), folder)
                if self.folder(scan, cohort) != folder:
                    shutil.rmtree(folder)
                    raise DataError.of([_changed(scan)])
            made = Examined.of_entry(*open_entry(scan, folder), cohort.convention)
        except StoreError:
            raise
        except DataError as error:
            return Examined.failed(scan, error)
        except DamagedError as error:
            raise StoreError(
                f"{folder} was written and cannot be read back: {error}; check the disk"
            ) from None
        if not damage:
            return made
        note = Problem(
            str(folder),
            f"was damaged: {damage}",
            "an entry as it was written",
            "it was built again; if this comes again, check the disk",
            "damaged-entry",
            severity="warning",
        )
        return replace(made, problems=(*made.problems, note))

    def _build(self, scan: Scan, convention: Convention, folder: Path) -> None:
        """Write an entry in place of a damaged one; the caller holds the entry's lock."""
        image, geometry, codes, record = read_scan(scan, convention, self.settings)
        with _writing(folder), building(folder) as draft:
            present = [path is not None for path in scan.images]
            write_array(draft / IMAGE, image[present].astype(self.settings.dtype))
            if codes is not None:
                codes = prepare_labels(codes, geometry)
                write_array(draft / CODES, codes)
                write_locations(draft / LOCATIONS, sample_locations(codes, self.settings.locations))
            write_record(draft, record)
            if folder.exists():
                shutil.rmtree(folder)


class StoreError(DataError):
    """A store that cannot be written; it concerns all scans."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # blosc2 raises the latter where a disk is full
        why = getattr(error, "strerror", None) or error
        raise StoreError(
            f"{path} cannot be written ({why}); make room or set paths.data to another disk. "
            "What is prepared is kept"
        ) from None


def _changed(scan: Scan) -> Problem:
    return Problem(
        str(scan.label or scan.images[0]),
        f"a file of {scan.id} changed while it was read",
        "files that stay as they are",
        "wait until all files are written, and start again",
        "unreadable-file",
    )


def _size(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_size
    except OSError:
        return 0
