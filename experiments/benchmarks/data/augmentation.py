"""What an augmented patch costs on one core, beside TorchIO, MONAI and nnU-Net.

    python experiments/benchmarks/data/augmentation.py [--peer-python PYTHON] [--rounds 2]

A patch of 128³ voxels with labels out of a scan of 217 x 290 x 290 voxels at 0.5 mm with 88 label
values (a phantom, made on first use below `--folder`). neoseg's time includes the reading from its
store; the peers have the whole scan in memory. Every program runs in a process of its own, on one
thread and one core, and rounds go through all of them in turn, so that a disturbance meets all
alike. nnU-Net is left out unless `--peer-python` names an interpreter that has it. Prints a
Markdown table and writes `augmentation.csv`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPE, PATCH = (217, 290, 290), (128, 128, 128)

ALWAYS = {
    "spatial": {"probability": 1.0},
    "intensity": {
        **dict.fromkeys(("bias_probability", "gamma_probability", "noise_probability"), 1.0),
        **dict.fromkeys(("contrast_probability", "blur_probability"), 0.0),
    },
}
REACH = 0.35
"""Seconds that a patch of "neoseg, all of it" may take."""

CASES = {
    "all": ("neoseg: affine, elastic, flip, bias, gamma, noise, each time", None),
    "cut": ("of which reading and resampling, labels too", None),
    "view": ("of which intensities", None),
    "basic": ("neoseg augment=basic, by its probabilities", None),
    "strong": ("neoseg augment=strong, by its probabilities", None),
    "nnunet": ("nnU-Net's default 3D transforms, by its probabilities", 4),
    "monai": ("MONAI, whole volume, then a crop", 20),
    "torchio": ("TorchIO, whole volume, then a crop", 20),
}
"""Name in the table, and how many times as long as the first to reach."""

PATCHES = {"neoseg": 10, "nnunet": 15, "monai": 1, "torchio": 1}
"""Programs in the order of a round, and how many patches each makes in one."""


def prepare(folder: Path) -> None:
    """Make the scan, and the arrays that the peers start from."""
    import nibabel as nib
    import numpy as np

    from neoseg.cohort.phantom.scan import generate_scan
    from neoseg.cohort.phantom.settings import PhantomSettings
    from neoseg.cohort.phantom.subject import draw_subject

    if (folder / "labels.npy").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    settings = PhantomSettings(spacing=0.5, seed=1)
    pairs = ((s, v) for n in range(100) for s in [draw_subject(settings, n)] for v in s.sessions)
    subject, session = next(pair for pair in pairs if not pair[1].wide_view)
    scan = generate_scan(settings, subject, session)
    for name, array in (("image", scan.t2w_restored), ("labels", scan.labels87)):
        image = nib.as_closest_canonical(nib.Nifti1Image(array, scan.affine))
        data = np.asarray(image.dataobj)
        missing = [(0, size - n) for size, n in zip(SHAPE, data.shape, strict=True)]
        whole = np.pad(data, missing, mode="edge")
        kind = np.int16 if name == "image" else np.uint8
        nib.save(nib.Nifti1Image(whole.astype(kind), image.affine), folder / f"{name}.nii.gz")
        if name == "image":
            whole = (whole - whole.mean()) / whole.std()
        np.save(folder / f"{name}.npy", whole.astype(np.float32 if name == "image" else np.int16))


def dataset_of(folder: Path, augment: dict[str, Any]) -> Any:
    """Return the training patches of the scan, as a training makes them."""
    from neoseg.augment import AugmentSettings
    from neoseg.cohort import Assignment, Cohort, Plan, Scan, Source, Split
    from neoseg.configuration.config import CONFIG_DIR
    from neoseg.labels import Convention, LabelSpace, LabelTable, Protocol
    from neoseg.patches.datamodule import MixedDataModule
    from neoseg.patches.dataset import PatchSettings
    from neoseg.store import PrepareSettings
    from neoseg.store.store import Store

    space = LabelSpace.from_table(LabelTable.read(CONFIG_DIR / "labels" / "drawem87.yaml"))
    scan = Scan(
        subject="01",
        session=None,
        images=(folder / "image.nii.gz",),
        label=folder / "labels.nii.gz",
        mask=None,
        scan_age=40.0,
        birth_age=None,
        cohort="benchmark",
    )
    cohort = Cohort("benchmark", (scan,), Convention.identity(space), ("T2w",))
    plan = (Assignment("01", None, "train", "full", "full"),)
    split = Split(("01",), (), ())
    data = MixedDataModule(
        Plan.of([Source(cohort, split, plan, {"full": Protocol.full(space)})]),
        Store(folder / "store", PrepareSettings(crop_margin=None)),
        PatchSettings(size=PATCH, batch_size=1, workers=0),
        AugmentSettings.model_validate(augment),
        seed=0,
    )
    data.prepare_data()
    data.setup()
    if data.train[0].entry.shape != SHAPE:
        raise SystemExit(f"the prepared scan has shape {data.train[0].entry.shape}, not {SHAPE}")
    return data.train_dataloader().dataset


def augment_of(case: str) -> dict[str, Any]:
    """Return the settings of a case."""
    import yaml

    from neoseg.configuration.config import CONFIG_DIR

    if case not in ("basic", "strong"):
        return ALWAYS
    group = CONFIG_DIR / "augment"
    augment = yaml.safe_load((group / "basic.yaml").read_text(encoding="utf-8"))
    if case == "strong":
        changes = yaml.safe_load((group / "strong.yaml").read_text(encoding="utf-8"))
        for key in ("spatial", "label_contrast", "intensity"):
            augment[key] |= changes[key]
    return augment


def run_neoseg(folder: Path, first: int, count: int) -> dict[str, list[list[float]]]:
    """Return for each case [seconds, seconds of the processor] of each patch."""
    import torch

    torch.set_num_threads(1)
    taken: dict[str, list[list[float]]] = {}
    for case in ("all", "basic", "strong", "cut", "view"):
        settings = augment_of(case)
        patches = dataset_of(
            folder, settings | ({"device": "accelerator"} if case == "view" else {})
        )
        patches[0, 0].with_intensities()
        taken[case] = []
        for step in range(first, first + count):
            batch = patches[step, 0] if case == "view" else None
            wall, work = time.perf_counter(), time.process_time()
            if batch is not None:
                batch.with_intensities()
            elif case == "cut":
                patches.draw(step, 0)
            else:
                patches[step, 0]
            taken[case].append([time.perf_counter() - wall, time.process_time() - work])
    return taken


def run(name: str, folder: Path, first: int, peer_python: str | None) -> dict[str, Any]:
    """Run one program in a process of its own, on one thread."""
    threads = (
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    )
    count = str(PATCHES[name])
    if name == "neoseg":
        options = ["--folder", str(folder), "--first", str(first), "--count", count]
        command = [sys.executable, str(Path(__file__).resolve()), *options]
    else:
        python = str(peer_python) if name == "nnunet" else sys.executable
        script = str(HERE / "augmentation_peers.py")
        command = [python, script, name, str(folder), str(first), count]
    environment = {**os.environ, **dict.fromkeys(threads, "1")}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"{name} failed:\n{found.stderr[-2000:]}")
    result = json.loads(found.stdout.strip().splitlines()[-1])
    return result if name == "neoseg" else {name: result}


def machine() -> str:
    """Describe processor and versions."""
    import importlib.metadata as versions

    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            n.split(":")[1].strip() for n in info.read_text().splitlines() if "model name" in n
        ]
        cpu = names[0] if names else cpu
    found = ", ".join(f"{n} {versions.version(n)}" for n in ("torch", "torchio", "monai", "blosc2"))
    return (
        f"one core of {cpu} ({os.cpu_count()} cores), Python {platform.python_version()}, {found}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/augmentation"))
    parser.add_argument("--peer-python", help="an interpreter with nnunetv2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--core", type=int, default=0, help="the core that all use")
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.first is not None:
        print(json.dumps(run_neoseg(folder, options.first, options.count)))
        return
    os.sched_setaffinity(0, {options.core})
    prepare(folder)
    taken: dict[str, list[list[float]]] = {}
    busy = []
    for turn in range(options.rounds):
        for name, count in PATCHES.items():
            if name == "nnunet" and not options.peer_python:
                continue
            busy.append(os.getloadavg()[0])
            print(f"round {turn + 1}: {name}, load {busy[-1]:.1f}", file=sys.stderr)
            for case, times in run(name, folder, 1 + turn * count, options.peer_python).items():
                taken.setdefault(case, []).extend(times)
    report({case: taken[case] for case in CASES if case in taken}, busy)


def report(taken: dict[str, list[list[float]]], busy: list[float]) -> None:
    """Print the table and write the CSV.

    Means, because what most of these programs do is drawn by chance; ratios of the processor's
    seconds, which other programs on the machine disturb less than those of the clock.
    """
    ours = statistics.mean(work for _, work in taken["all"])
    rows = []
    for case, times in taken.items():
        title, reach = CASES[case]
        walls, works = zip(*times, strict=True)
        rows.append(
            {
                "case": case,
                "what": title,
                "patches": len(times),
                "cpu_mean_s": f"{statistics.mean(works):.3f}",
                "cpu_median_s": f"{statistics.median(works):.3f}",
                "cpu_longest_s": f"{max(works):.3f}",
                "clock_mean_s": f"{statistics.mean(walls):.3f}",
                "ratio": f"{statistics.mean(works) / ours:.1f}",
                "reach": f"at least {reach}" if reach else "",
                "load": f"{min(busy):.1f} to {max(busy):.1f}",
                "machine": machine(),
            }
        )
    rows[0]["reach"] = f"at most {REACH} s"
    with (HERE / "augmentation.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"\n{machine()}, load {rows[0]['load']}\n")
    print("| one patch of 128³ | patches | mean CPU s | median | longest | ratio | to reach |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    cells = ("what", "patches", "cpu_mean_s", "cpu_median_s", "cpu_longest_s", "ratio", "reach")
    for row in rows:
        print("| " + " | ".join(str(row[cell]) for cell in cells) + " |")


if __name__ == "__main__":
    main()
