"""Entries of a store that somebody else has written into."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_cohort import write_cohort

from neoseg.store import PrepareSettings
from neoseg.store.entry import CHECKSUM, CODES, IMAGE, LOCATIONS, RECORD, _checksum_of
from neoseg.store.store import Store

RECORDS: dict[str, dict[str, Any]] = {
    "a path out of the entry": {"content": {"../../../secret": {"bytes": 0, "crc32": 0}}},
    "an absolute path": {"content": {"/etc/passwd": {"bytes": 0, "crc32": 0}}},
    "no files": {"content": {}},
    "sizes that are none": {"content": {IMAGE: {"bytes": "x"}}},
    "another kind of finding": {
        "findings": [{"where": "x", "found": "y", "kind": "os", "scans": []}]
    },
    "findings that are none": {"findings": [1]},
    "findings with other keys": {"findings": [{"__class__": "x", "scans": []}]},
    "texts for voxels": {"voxels": ["x"]},
    "negative voxels": {"voxels": [-1]},
    "a number for a digest": {"digest": 7},
    "settings that are none": {"settings": []},
    "no geometry": {"geometry": {}},
    "another geometry": {"geometry": {"os": "x"}},
    "a type that is none": {"type": "object"},
    "channels without end": {"channels": 2**40},
}
FILES: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda path, secret: path.symlink_to(secret),
    "a pipe": lambda path, _: os.mkfifo(path),
    "a device": lambda path, _: path.symlink_to("/dev/zero"),
    "a folder": lambda path, _: path.mkdir(),
    "a text": lambda path, _: path.write_text("x"),
}


def prepared(folder: Path) -> tuple[Any, Store, Path]:
    cohort = write_cohort(folder / "cohort", 1)
    store = Store(folder / "store", PrepareSettings(locations=20, processes=1))
    (entry,) = store.prepare(cohort, cohort.scans)
    return cohort, store, entry.folder


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_was_not_written_so_is_built_anew(canary: Any, name: str) -> None:
    cohort, store, folder = prepared(canary.folder)
    honest = json.loads((folder / RECORD).read_text())
    spoilt = {key: value for key, value in honest.items() if key != CHECKSUM} | RECORDS[name]
    spoilt[CHECKSUM] = _checksum_of(spoilt)
    (folder / RECORD).write_text(json.dumps(spoilt))
    (found,) = canary.harmless(lambda: store.examine(cohort, cohort.scans, verify=True))
    assert found.entry is not None
    again = json.loads((found.entry.folder / RECORD).read_text())
    assert {key: again[key] for key in RECORDS[name]} == {key: honest[key] for key in RECORDS[name]}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", [RECORD, IMAGE, CODES, LOCATIONS])
def test_what_is_no_file_of_an_entry_is_built_anew(canary: Any, name: str, kind: str) -> None:
    cohort, store, folder = prepared(canary.folder)
    (folder / name).unlink()
    FILES[kind](folder / name, canary.folder / "secret")
    (found,) = canary.harmless(lambda: store.examine(cohort, cohort.scans, verify=True))
    assert found.entry is not None
    path = found.entry.folder / name
    assert path.is_file()
    assert not path.is_symlink()
