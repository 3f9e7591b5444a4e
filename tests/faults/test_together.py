"""Ten jobs of a sweep that start at once share one store."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))

from forked import CONTEXT
from preparing import prepare_and_tell
from small_cohort import write_cohort

from neoseg.processes import light_spawn


def test_ten_jobs_that_prepare_one_store_at_once(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort", 3)
    # A server without threads forks the jobs; a process that has threads must not.
    light_spawn()  # what cleans up after processes is started as neoseg does
    start, queue = CONTEXT.Barrier(10), CONTEXT.Queue()
    jobs = [
        CONTEXT.Process(target=prepare_and_tell, args=(tmp_path, cohort, start, queue))
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
