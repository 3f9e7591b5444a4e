"""Ten jobs of a sweep that start at once share one store."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))

from small_cohort import write_cohort

from neoseg.cohort import Cohort
from neoseg.data import PrepareSettings, Store


def prepare_and_tell(root: Path, cohort: Cohort, start: Any, queue: Any) -> None:
    built: list[int] = []
    build = Store._build
    Store._build = lambda self, *a: (built.append(1), build(self, *a))[1]  # type: ignore[method-assign]
    start.wait()
    entries = Store(root / "store", PrepareSettings(locations=50)).prepare(cohort, cohort.scans)
    queue.put((len(built), [(e.folder.name, e.image[:].sum().item()) for e in entries]))


def test_ten_jobs_that_prepare_one_store_at_once(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort", 3)
    context = multiprocessing.get_context("fork")
    start, queue = context.Barrier(10), context.Queue()
    jobs = [
        context.Process(target=prepare_and_tell, args=(tmp_path, cohort, start, queue))
        for _ in range(10)
    ]
    for job in jobs:
        job.start()
    told = [queue.get(timeout=120) for _ in jobs]
    for job in jobs:
        job.join(timeout=60)
    assert sum(number for number, _ in told) == 3
    assert all(entries == told[0][1] for _, entries in told)
    shown = [p.name for p in (tmp_path / "store" / "small").iterdir() if p.suffix != ".lock"]
    assert sorted(shown) == sorted(name for name, _ in told[0][1])
