"""CPU seconds and memory until a command does its first work, against `import torch`, in turns.

    python experiments/benchmarks/start/run.py [--rounds 7] [--folder data/benchmarks/start]

Each round runs every case once as a process of its own; a ratio is that of a case and of
`import torch` within one round. Writes `results.csv` beside this file and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH = "python -c 'import torch'"
BOUNDS = {
    "import neoseg": 1.0,
    "neoseg.train --help": 1.0,
    "neoseg.train --cfg job": 1.0,
    "neoseg.train, a misspelt key": 1.0,
    "neoseg.phantom --cfg job": 1.0,
    "import neoseg.losses": 1.3,
    "neoseg.predict, until it looks for scans": 2.0,
}
"""Cases and the ratios that they should not pass."""


def commands(run: Path, empty: Path) -> dict[str, list[str]]:
    """Return the arguments of Python for each case."""
    output = f"output={empty.parent / 'output'}"
    return {
        TORCH: ["-c", "import torch"],
        "import neoseg": ["-c", "import neoseg"],
        "neoseg.train --help": ["-m", "neoseg.train", "--help"],
        "neoseg.train --cfg job": ["-m", "neoseg.train", "--cfg", "job"],
        "neoseg.train, a misspelt key": ["-m", "neoseg.train", "patches.sise=3"],
        "neoseg.phantom --cfg job": ["-m", "neoseg.phantom", "--cfg", "job", "output=x"],
        "import neoseg.losses": ["-c", "import neoseg.losses"],
        # It imports all that it needs and loads the network; then there is nothing to segment.
        "neoseg.predict, until it looks for scans": [
            *("-m", "neoseg.predict", f"run={run}", f"input={empty}", output, "device=cpu")
        ],
    }


def trained(folder: Path) -> Path:
    """Return the folder of a tiny run with the default network, trained where it is missing."""
    run = folder / "run"
    if not (run / "run.json").is_file():
        arguments = ["-m", "neoseg.train", "+debug=fast", "logger=csv", "score=false"]
        arguments += [f"paths.data={folder / 'data'}", f"hydra.run.dir={run}"]
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return run


def cost(arguments: list[str]) -> tuple[float, float]:
    """Return CPU seconds and peak memory (MB) of one process."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/start"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    empty = folder / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    cases = commands(trained(folder), empty)
    for arguments in cases.values():
        cost(arguments)  # compiled files and the page cache
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, arguments in cases.items():
            found[name].append(cost(arguments))
    rows = []
    for name, values in found.items():
        ratios = [a[0] / b[0] for a, b in zip(values, found[TORCH], strict=True)]
        rows.append(
            {
                "case": name,
                "cpu_seconds": f"{statistics.median(v[0] for v in values):.2f}",
                "ratio_to_torch": f"{statistics.median(ratios):.2f}",
                "ratio_range": f"{min(ratios):.2f} to {max(ratios):.2f}",
                "bound": BOUNDS.get(name, ""),
                "peak_mb": f"{statistics.median(v[1] for v in values):.0f}",
                "rounds": options.rounds,
            }
        )
    with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print("| case | CPU s | times `import torch` | to stay below | peak MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        ratio = f"{row['ratio_to_torch']} ({row['ratio_range']})"
        cells = row["case"], row["cpu_seconds"], ratio, row["bound"], row["peak_mb"]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
