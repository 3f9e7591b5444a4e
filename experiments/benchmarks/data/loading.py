"""What feeding a network costs: waiting, memory, preparation.

    python experiments/benchmarks/data/loading.py steps      # needs all cores for itself
    python experiments/benchmarks/data/loading.py memory
    python experiments/benchmarks/data/loading.py prepare

- `steps`: time of a training step fed by the engine over that of a step on one batch that stays in
  memory; the default network, patches and loader processes. Rounds of both take turns.
- `memory`: resident memory of a process that loads patches of 10 and of 500 scans, the same number
  of patches each; once where the training process loads itself, once where a loader process does.
- `prepare`: seconds and bytes of one scan of 217 x 290 x 290 voxels at 0.5 mm, on one core.

Scans are phantoms, generated on first use below `--data`. Each command prints a Markdown table and
replaces its rows in `loading.csv`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COLUMNS = ("figure", "case", "value", "unit", "reach", "machine")
LIMITS = {"steps": 1.05, "memory": 1.05, "seconds": 6.0, "megabytes": 40.0}
DHCP_SHAPE, DHCP_SPACING = (217, 290, 290), 0.5


def machine() -> str:
    """Describe the processor, the threads in use and the versions that matter."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return (
        f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__} on {torch.get_num_threads()} "
        f"threads, Python {platform.python_version()}"
    )


def record(figure: str, rows: list[tuple[str, float, str, str]]) -> None:
    """Print a table, and put the rows (case, value, unit, reach) into the CSV."""
    where = machine()
    path = HERE / "loading.csv"
    old: list[dict[str, str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as handle:
            old = [row for row in csv.DictReader(handle) if row["figure"] != figure]
    new = [
        dict(zip(COLUMNS, (figure, case, f"{value:.4g}", unit, reach, where), strict=True))
        for case, value, unit, reach in rows
    ]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*old, *new], key=lambda row: row["figure"]))
    print(f"\n{where}\n\n| {figure} | value | to reach |\n| --- | ---: | ---: |")
    for case, value, unit, reach in rows:
        print(f"| {case} | {value:.4g} {unit} | {reach} |")


# --- steps ---------------------------------------------------------------------------------------


def steps(options: argparse.Namespace) -> None:
    """Time training steps with the engine and with one batch in memory, in turn."""
    import lightning as L
    from hydra import compose, initialize_config_dir
    from torch.utils.data import DataLoader

    from neoseg.configuration.assembly import (
        annotated_of,
        cohort_of,
        module_of,
        space_of,
        split_of,
    )
    from neoseg.configuration.command import quieten
    from neoseg.configuration.config import CONFIG_DIR
    from neoseg.runs.stage import prepared_data
    from neoseg.training.recipe import Stage

    quieten()
    overrides = [f"paths.data={options.data}", f"patches.steps_per_epoch={options.steps}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(
            "train", [f"+experiment={options.experiment}", *overrides, *options.override]
        )
    cohort = cohort_of(config, space_of(config))
    annotated = annotated_of(config, cohort, split_of(config, cohort))
    L.seed_everything(0, verbose=False)
    module = module_of(config, annotated)
    stage = Stage(1, True, "all", None, False)
    data = prepared_data(config, annotated, stage, module.objective.needs_teacher)
    data.setup()
    batch = next(iter(data.train_dataloader()))

    class Repeated(type(data)):  # type: ignore[misc]
        """The same data module with one batch for all."""

        def train_dataloader(self) -> Any:
            return DataLoader(list(repeat(batch, self.patches.steps_per_epoch)), batch_size=None)

    again = Repeated.__new__(Repeated)
    again.__dict__.update(data.__dict__)
    measured: dict[str, list[float]] = {"engine": [], "one batch in memory": []}
    waits = []
    for number in range(options.rounds):
        for name, source in zip(measured, (data, again), strict=True):
            clock = clock_of(options.warm)
            trainer = L.Trainer(
                max_epochs=1,
                accelerator=config.trainer.accelerator,
                precision=config.trainer.precision,
                gradient_clip_val=config.trainer.gradient_clip_val,
                limit_val_batches=0,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                callbacks=[clock],
            )
            trainer.fit(module, source)
            seconds, waited = clock.result()
            measured[name].append(seconds)
            if name == "engine":
                waits.append(waited)
            print(
                f"round {number + 1}, {name}: {seconds:.4f} s a step, {100 * waited:.1f} % waiting",
                flush=True,
            )
    fed, held = (statistics.median(values) for values in measured.values())
    ratios = [a / b for a, b in zip(*measured.values(), strict=True)]
    about = f"{options.experiment}, {options.steps - options.warm} steps, {options.rounds} rounds"
    record(
        "steps",
        [
            (f"engine ({about})", fed, "s a step", ""),
            ("one batch in memory", held, "s a step", ""),
            (
                "engine / one batch, median of the rounds",
                statistics.median(ratios),
                "",
                f"at most {LIMITS['steps']}",
            ),
            ("smallest and largest ratio", min(ratios), f"to {max(ratios):.4g}", ""),
            ("share of a step that waits for data", 100 * statistics.median(waits), "%", ""),
        ],
    )


def clock_of(warm: int) -> Any:
    """Return a callback that times all steps after the first ones, from end to end."""
    from lightning.pytorch.callbacks import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.waits: list[float] = []

        def on_train_batch_start(self, *_: Any) -> None:
            if self.ends:
                self.waits.append(time.perf_counter() - self.ends[-1])

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.strategy.root_device.type == "cuda":
                import torch

                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

        def result(self) -> tuple[float, float]:
            """Return seconds of a step, and the share of them that waited."""
            total = self.ends[-1] - self.ends[warm - 1]
            return total / (len(self.ends) - warm), sum(self.waits[warm - 1 :]) / total

    return Clock()


# --- memory --------------------------------------------------------------------------------------


def one_phantom(data: Path, spacing: float) -> Any:
    """Return the cohort of one phantom subject."""
    from hydra import compose, initialize_config_dir

    from neoseg.configuration.assembly import cohort_of, space_of
    from neoseg.configuration.config import CONFIG_DIR

    overrides = [f"paths.data={data}", f"cohort.phantom.spacing={spacing}"]
    overrides += ["cohort.phantom.subjects=1", "cohort.phantom.t1w_missing_share=0.0"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", [*overrides, "cohort.modalities=[T2w,T1w]"])
    return cohort_of(config, space_of(config))


def memory(options: argparse.Namespace) -> None:
    """Load patches of few and of many scans, each in a process of its own."""
    from neoseg.data import PrepareSettings, Store

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
                command = [sys.executable, __file__, "load", *map(str, arguments)]
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
        rows.append((f"{who}, {many} / {few} scans", ratio, "", f"at most {LIMITS['memory']}"))
    record("memory", rows)


def load(options: argparse.Namespace) -> None:
    """Load patches of so many scans and print the resident memory at the end, in MiB."""
    from neoseg.cohort import Annotated, Assignment
    from neoseg.data import AugmentSettings, PatchSettings, PrepareSettings, Store
    from neoseg.data.datamodule import MixedDataModule
    from neoseg.labels import Protocol

    cohort = one_phantom(options.data, 2.0)
    first = replace(cohort.scans[0], images=cohort.scans[0].images[:1])
    scans = tuple(replace(first, subject=f"{number:04}") for number in range(options.scans))
    cohort = replace(cohort, scans=scans, modalities=("T2w",))
    space = cohort.convention.space
    plan = [Assignment(s.subject, s.session, "train", "full", "full", cohort.name) for s in scans]
    annotated = Annotated.plan(cohort, plan, {"full": Protocol.full(space)})
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


# --- prepare -------------------------------------------------------------------------------------


def prepare(options: argparse.Namespace) -> None:
    """Prepare a scan of the dHCP's size again and again on one core."""
    from neoseg.data import PrepareSettings, Store

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
                (f"{case}: core", seconds, "s", f"at most {LIMITS['seconds']:g}" if reach else ""),
                (f"{case}: wall clock", statistics.median(walls[1:]), "s", ""),
                (
                    f"{case}: disk",
                    size / 1e6,
                    "MB",
                    f"at most {LIMITS['megabytes']:g}" if reach else "",
                ),
                (f"{case}: prepared voxels", float(_count(entry.shape)), "", ""),
            ]
    record("prepare", rows)


def _count(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1] * shape[2]


def write_large(scan: Any, folder: Path) -> Any:
    """Write a phantom on the dHCP grid: finer, noise in every voxel, the head in the middle."""
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    rng = np.random.default_rng(0)
    affine = np.diag([-DHCP_SPACING, DHCP_SPACING, DHCP_SPACING, 1.0])

    def finer(path: Path, order: int) -> np.ndarray:
        volume = nib.as_closest_canonical(nib.load(path))
        data = np.asarray(volume.dataobj, dtype=np.float32)
        zoom = np.linalg.norm(volume.affine[:3, :3], axis=0) / DHCP_SPACING
        data = ndimage.zoom(data, zoom, order=order)
        large = np.zeros(DHCP_SHAPE, np.float32)
        low = [max(0, (big - n) // 2) for big, n in zip(DHCP_SHAPE, data.shape, strict=True)]
        cut = [max(0, (n - big) // 2) for big, n in zip(DHCP_SHAPE, data.shape, strict=True)]
        kept = data[tuple(slice(c, c + big) for c, big in zip(cut, DHCP_SHAPE, strict=True))]
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Any) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=run.__doc__)
        found.add_argument("--data", type=Path, default=Path("data"), help="folder of the phantoms")
        found.set_defaults(run=run)
        return found

    made = command("steps", steps)
    made.add_argument("--experiment", default="partial_superclass")
    made.add_argument("--steps", type=int, default=60, help="of a round")
    made.add_argument("--warm", type=int, default=10, help="first steps, which do not count")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("override", nargs="*", help="of the configuration, such as patches=gpu")
    made = command("memory", memory)
    made.add_argument("--few", type=int, default=10)
    made.add_argument("--many", type=int, default=500)
    made.add_argument("--patches", type=int, default=500, help="to load in each case")
    command("prepare", prepare).add_argument("--rounds", type=int, default=3)
    made = commands.add_parser("load", help="(used by memory)")
    for name, kind in (
        ("scans", int),
        ("patches", int),
        ("workers", int),
        ("store", Path),
        ("data", Path),
    ):
        made.add_argument(name, type=kind)
    made.set_defaults(run=load)
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    options.data = options.data.resolve()
    options.run(options)


if __name__ == "__main__":
    main()
