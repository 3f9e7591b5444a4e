"""Load patches and print the resident memory at the end, in MiB; `memory.py` starts it.

python load.py SCANS PATCHES WORKERS STORE DATA
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

from table import one_phantom

from neoseg.augment import AugmentSettings
from neoseg.cohort import Assignment, Plan, Source, Split
from neoseg.labels import Protocol
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import PatchSettings
from neoseg.store import PrepareSettings
from neoseg.store.store import Store


def load(options: argparse.Namespace) -> None:
    """Load patches of so many copies of one scan."""
    cohort = one_phantom(options.data, 2.0)
    first = replace(cohort.scans[0], images=cohort.scans[0].images[:1])
    scans = tuple(replace(first, subject=f"{number:04}") for number in range(options.scans))
    cohort = replace(cohort, scans=scans, modalities=("T2w",))
    space = cohort.convention.space
    plan = [Assignment(s.subject, s.session, "train", "full", "full", cohort.name) for s in scans]
    split = Split(tuple(scan.subject for scan in scans), (), ())
    annotated = Plan.of([Source(cohort, split, tuple(plan), {"full": Protocol.full(space)})])
    patches = PatchSettings(
        size=(48, 48, 48),
        batch_size=2,
        steps_per_epoch=options.patches // 2,
        workers=options.workers,
    )
    store = Store(options.store, PrepareSettings())
    data = MixedDataModule(annotated, store, patches, AugmentSettings(), seed=0)
    data.setup()
    assert {scan.entry.folder.exists() for scan in data.train} == {True}
    loader = iter(data.train_dataloader())
    seen = set(chain.from_iterable(batch.scan.tolist() for batch in loader))
    assert len(seen) == min(options.scans, options.patches)
    status = Path("/proc/self/status")
    if options.workers:
        workers = loader._workers  # type: ignore[attr-defined]
        status = Path(f"/proc/{workers[0].pid}/status")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    names = {"total": "VmRSS", "own": "RssAnon", "of files": "RssFile"}
    print(json.dumps({key: int(fields[name].split()[0]) / 1024 for key, name in names.items()}))


def main() -> None:
    """Read the command line and load."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (
        ("scans", int),
        ("patches", int),
        ("workers", int),
        ("store", Path),
        ("data", Path),
    ):
        parser.add_argument(name, type=kind)
    load(parser.parse_args())


if __name__ == "__main__":
    main()
