"""Time to unpack a patch of 48 voxels, and room on the disk, by the codec of the store's arrays.

    python experiments/benchmarks/data/codecs.py [--reads 400]

Chunks and blocks are the store's. Blocks of one prepared phantom (1 mm) are read at the same random
places with one codec after the other, in turns, on one thread. The phantom is generated on first
use below `--data`. Prints a Markdown table and replaces its rows in `loading.csv`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import blosc2
import numpy as np
from table import one_phantom, parser_of, record

from neoseg.store import PrepareSettings
from neoseg.store.entry import BLOCK, CHUNK, write_array
from neoseg.store.store import Store

PATCH = 48


def write(
    path: Path, array: np.ndarray, codec: blosc2.Codec, level: int, how: blosc2.Filter
) -> None:
    """Write an array as the store does, with another codec."""
    flat = (1,) * (array.ndim - 3)
    blosc2.asarray(
        array,
        urlpath=str(path),
        mode="w",
        chunks=flat + tuple(min(CHUNK, n) for n in array.shape[-3:]),
        blocks=flat + tuple(min(BLOCK, n) for n in array.shape[-3:]),
        cparams={
            "codec": codec,
            "clevel": level,
            "nthreads": 1,
            "filters": [how],
            "filters_meta": [0],
        },
    )


def measure(options: argparse.Namespace) -> None:
    """Write each array with each codec, and read them in turns."""
    cohort = one_phantom(options.data, 1.0)
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        store = Store(Path(scratch) / "store", PrepareSettings(processes=1))
        (entry,) = store.prepare(cohort, cohort.scans)
        for name, array in (("image", entry.read_image()[:1]), ("codes", entry.read_codes())):
            folder = Path(scratch)
            write_array(folder / "store's", array)
            write(folder / "Zstandard", array, blosc2.Codec.ZSTD, 3, blosc2.Filter.BITSHUFFLE)
            write(folder / "none", array, blosc2.Codec.LZ4, 0, blosc2.Filter.NOFILTER)
            cases = ("store's", "Zstandard", "none")
            opened = {c: blosc2.open(str(folder / c), mode="r", mmap_mode="r") for c in cases}
            times: dict[str, list[float]] = {case: [] for case in cases}
            for _ in range(options.reads):
                at = [int(rng.integers(n - PATCH + 1)) for n in array.shape[-3:]]
                block = (Ellipsis, *(slice(first, first + PATCH) for first in at))
                for case in cases:
                    start = time.perf_counter()
                    opened[case][block]
                    times[case].append(time.perf_counter() - start)
            for case in cases:
                size = (folder / case).stat().st_size / 1e6
                rows.append((f"{name}, {case}: disk", size, "MB", ""))
                rows.append(
                    (f"{name}, {case}: patch", 1e3 * statistics.median(times[case]), "ms", "")
                )
    record("codecs", rows)


def main() -> None:
    """Read the command line and measure."""
    parser = parser_of(__doc__)
    parser.add_argument("--reads", type=int, default=400, help="of each codec")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
