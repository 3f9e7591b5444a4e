"""Resident memory of a process that loads patches of few and of many scans.

    python experiments/benchmarks/data/memory.py [--few 10] [--many 500] [--patches 500]

The same number of patches each; once where the training process loads itself, once where a loader
process does. Scans are a phantom, generated on first use below `--data`. Prints a Markdown table
and replaces its rows in `loading.csv`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from table import HERE, one_phantom, parser_of, record

from neoseg.store import PrepareSettings
from neoseg.store.store import Store

LIMIT = 1.05
LOAD = HERE / "load.py"


def memory(options: argparse.Namespace) -> None:
    """Load patches of few and of many scans, each in a process of its own."""
    cohort = one_phantom(options.data, 2.0)
    cohort = replace(cohort, modalities=("T2w",))
    first = replace(cohort.scans[0], images=cohort.scans[0].images[:1])
    numbers = (options.few, options.many)
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        store = Store(Path(scratch), PrepareSettings())
        (entry,) = store.prepare(cohort, [first])
        for number in range(max(numbers)):
            scan = replace(first, subject=f"{number:04}")
            shutil.copytree(entry.folder, store.folder(scan, cohort))
        found = {}
        for number in numbers:
            for workers in (0, 1):
                arguments = [number, options.patches, workers, scratch, options.data]
                command = [sys.executable, str(LOAD), *map(str, arguments)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[number, workers] = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{number} scans, {workers} loader processes: {found[number, workers]}",
                    flush=True,
                )
    few, many = numbers
    rows = []
    for workers, who in ((0, "training process that loads itself"), (1, "loader process")):
        for number in numbers:
            rows.append((f"{who}, {number} scans", found[number, workers]["total"], "MiB", ""))
        ratio = found[many, workers]["total"] / found[few, workers]["total"]
        rows.append((f"{who}, {many} / {few} scans", ratio, "", f"at most {LIMIT}"))
    record("memory", rows)


def main() -> None:
    """Read the command line and measure."""
    parser = parser_of(__doc__)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=500)
    parser.add_argument("--patches", type=int, default=500, help="to load in each case")
    memory(parser.parse_args())


if __name__ == "__main__":
    main()
