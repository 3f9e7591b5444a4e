"""Seconds and bytes of preparing one scan of 217 x 290 x 290 voxels at 0.5 mm, on one core.

    python experiments/benchmarks/data/preparing.py [--rounds 3]

The scan is a phantom, generated on first use below `--data`. Prints a Markdown table and replaces
its rows in `loading.csv`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage
from table import one_phantom, parser_of, record

from neoseg.store import PrepareSettings
from neoseg.store.store import Store

SECONDS, MEGABYTES = 6.0, 40.0
"""To reach."""

SHAPE, SPACING = (217, 290, 290), 0.5


def prepare(options: argparse.Namespace) -> None:
    """Prepare a scan of the dHCP's size again and again on one core."""
    cohort = one_phantom(options.data, 1.0)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        scan = write_large(cohort.scans[0], Path(scratch))
        cases = {"T2w and labels": (1, ("T2w",)), "T2w, T1w and labels": (2, ("T2w", "T1w"))}
        for case, (number, names) in cases.items():
            one = replace(scan, images=scan.images[:number])
            own = replace(cohort, scans=(one,), modalities=names)
            walls, cpus, size = [], [], 0
            for attempt in range(options.rounds + 1):
                store = Store(Path(scratch) / f"{number}-{attempt}", PrepareSettings(processes=1))
                wall, cpu = time.perf_counter(), time.process_time()
                (entry,) = store.prepare(own, [one])
                walls.append(time.perf_counter() - wall)
                cpus.append(time.process_time() - cpu)
                size = sum(path.stat().st_size for path in entry.folder.iterdir())
                print(
                    f"{case}: {walls[-1]:.2f} s, {cpus[-1]:.2f} s of a core, {size / 1e6:.1f} MB",
                    flush=True,
                )
                shutil.rmtree(store.root)
            reach = number == 1  # the figure is that of an image with its labels
            seconds = statistics.median(cpus[1:])
            rows += [
                (f"{case}: core", seconds, "s", f"at most {SECONDS:g}" if reach else ""),
                (f"{case}: wall clock", statistics.median(walls[1:]), "s", ""),
                (
                    f"{case}: disk",
                    size / 1e6,
                    "MB",
                    f"at most {MEGABYTES:g}" if reach else "",
                ),
                (f"{case}: prepared voxels", float(prod(entry.shape)), "", ""),
            ]
    record("prepare", rows)


def write_large(scan: Any, folder: Path) -> Any:
    """Write a phantom on the dHCP grid: finer, noise in every voxel, the head in the middle."""
    rng = np.random.default_rng(0)
    affine = np.diag([-SPACING, SPACING, SPACING, 1.0])

    def finer(path: Path, order: int) -> np.ndarray:
        volume = nib.as_closest_canonical(nib.load(path))
        data = np.asarray(volume.dataobj, dtype=np.float32)
        zoom = np.linalg.norm(volume.affine[:3, :3], axis=0) / SPACING
        data = ndimage.zoom(data, zoom, order=order)
        large = np.zeros(SHAPE, np.float32)
        low = [max(0, (big - n) // 2) for big, n in zip(SHAPE, data.shape, strict=True)]
        cut = [max(0, (n - big) // 2) for big, n in zip(SHAPE, data.shape, strict=True)]
        kept = data[tuple(slice(c, c + big) for c, big in zip(cut, SHAPE, strict=True))]
        box = tuple(slice(a, a + n) for a, n in zip(low, kept.shape, strict=True))
        large[box] = kept
        return large

    images = []
    for number, path in enumerate(scan.images):
        data = finer(path, 1)
        data += np.abs(rng.normal(0, 0.02 * data.max(), data.shape)).astype(np.float32)
        images.append(folder / f"sub-0_{number}.nii.gz")
        nib.save(nib.Nifti1Image(data, affine), images[-1])
    label = folder / "sub-0_dseg.nii.gz"
    nib.save(nib.Nifti1Image(finer(scan.label, 0).astype(np.int16), affine), label)
    return replace(scan, images=tuple(images), label=label, mask=None)


def main() -> None:
    """Read the command line and measure."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    prepare(parser.parse_args())


if __name__ == "__main__":
    main()
