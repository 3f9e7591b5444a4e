"""The store of prepared scans: each is read once and kept in compressed, memory-mapped chunks."""

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
from neoseg.store.damage import DataError
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
from neoseg.store.preprocess import prepare_labels
from neoseg.store.reading import read_scan
from neoseg.store.settings import PrepareSettings

log = logging.getLogger(__name__)

DIGESTS = "digests.json"
"""Name of the file in a store that caches the digests of its cohorts' files."""


class Store:
    """Entries below one root folder, keyed by a fingerprint of input files and settings."""

    def __init__(self, root: Path, settings: PrepareSettings) -> None:
        self.root = root
        self.settings = settings

    def folder(self, scan: Scan, cohort: Cohort) -> Path:
        """Return the folder of a scan's entry, whether or not it exists yet."""
        key = fingerprint(scan, scan.meaning(cohort.convention), self.settings)
        return self.root / cohort.name / f"{scan.id}-{key}"

    def prepare(
        self, cohort: Cohort, scans: Sequence[Scan], progress: Callable[[str], None] | None = None
    ) -> list[StoreEntry]:
        """Return the entries of `scans` in order, building missing ones.

        Raises:
            DataError: raised after all scans were tried; lists every problem that was found.
        """
        return entries_of(cohort, self.examine(cohort, scans, progress))

    def examine(
        self,
        cohort: Cohort,
        scans: Sequence[Scan],
        progress: Callable[[str], None] | None = None,
        verify: bool = False,
    ) -> list[Examined]:
        """Return the result for each scan, in order, after building missing entries.

        Scans in the store are not read again. `verify` compares checksums of existing entries.

        Raises:
            DataError: the store cannot be written.
            ProcessError: a worker process was killed.
        """
        results: dict[int, Examined] = {}
        missing: list[int] = []
        with digests_kept(self.root / DIGESTS):
            for number, scan in enumerate(scans):
                existing = self._existing(scan, cohort, verify)
                if existing is None:
                    missing.append(number)
                    continue
                results[number] = existing
                if progress is not None:
                    progress(scan.id)
        sizes = [_size(scans[number].images[0]) for number in missing]
        processes = count_processes(self.settings.processes, sizes)
        build = partial(self._build_or_open, cohort=cohort, verify=verify)
        unbuilt = [scans[number] for number in missing]
        for index, result in work_through(build, unbuilt, processes, "store.processes"):
            for note in result.problems:
                if note.kind == "damaged-entry":
                    log.warning("%s", note)
            results[missing[index]] = result
            if progress is not None:
                progress(result.scan.id)
        return [results[number] for number in range(len(scans))]

    def _existing(self, scan: Scan, cohort: Cohort, verify: bool) -> Examined | None:
        """Return the result of an existing entry; None if it has to be built."""
        try:
            folder = self.folder(scan, cohort)
            if not folder.exists():
                return None
            return Examined.of_entry(*open_entry(scan, folder, verify), cohort.convention)
        except DataError as error:
            return Examined.failed(scan, error)
        except DamagedError:
            return None

    def _build_or_open(self, scan: Scan, cohort: Cohort, verify: bool) -> Examined:
        """Build an entry, or use the one that another process has built meanwhile."""
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
            result = Examined.of_entry(*open_entry(scan, folder), cohort.convention)
        except StoreError:
            raise
        except DataError as error:
            return Examined.failed(scan, error)
        except DamagedError as error:
            raise StoreError(
                f"{folder} was written and cannot be read back: {error}; check the disk"
            ) from None
        if not damage:
            return result
        note = Problem(
            str(folder),
            f"was damaged: {damage}",
            "an entry as it was written",
            "it was built again; if this comes again, check the disk",
            "damaged-entry",
            severity="warning",
        )
        return replace(result, problems=(*result.problems, note))

    def _build(self, scan: Scan, convention: Convention, folder: Path) -> None:
        """Write an entry, replacing a damaged one; the caller holds the entry's lock."""
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
    """The store cannot be written, which affects all scans."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # blosc2 raises RuntimeError if the disk is full
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
