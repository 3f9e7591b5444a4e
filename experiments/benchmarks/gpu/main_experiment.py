"""Minutes of whole experiments, counted from some of their steps."""

from __future__ import annotations

from functools import partial

from experiments.benchmarks.gpu.bench import ROOT, Bench, Found, NotHereError
from experiments.benchmarks.gpu.material import SHORT, configured, train_run
from neoseg.tracking import METRICS
from neoseg.tracking.curves import mean_times

WHOLE = {
    "main experiment, 0.5 mm": (
        "label_set",
        ("network=unet3d_large", "patches=gpu", "augment=strong", "trainer=gpu"),
        (
            "cohort.phantom.subjects=4",
            "cohort.phantom.spacing=0.5",
        ),
    ),
    "paper in 2D, 40 phantoms": (
        "paper_2d",
        (),
        ("cohort.phantom.subjects=40", "cohort.phantom.preterm_share=1.0"),
    ),
}
"""Experiment, its full size, and the phantoms on which it is tried."""

REAL = {
    "miccai2012": ("network=unet3d_large", "patches=gpu", "store.spacing=1.0", "trainer=gpu"),
    "hippocampus": ("trainer=gpu",),
}
"""Real scans as in `experiments/real`, at their own resolution; `--real NAME=FOLDER` has them."""

TRIED = ("trainer.max_epochs=1", "patches.steps_per_epoch=60", "early_stopping=null")
QUIET = (
    "logger=csv",
    "score=false",
    "pictures=0",
    "plan=none",
    "trainer.enable_progress_bar=false",
)


def run(bench: Bench) -> None:
    """Count minutes of each experiment."""
    for name, (experiment, full, phantoms) in WHOLE.items():
        bench.check(name, partial(minutes, bench, name, experiment, full, phantoms))
    for name, full in REAL.items():
        bench.check(f"real scans, {name}", partial(real, bench, name, full))


def real(bench: Bench, name: str, full: tuple[str, ...]) -> Found:
    """Minutes of the main arm on real scans; the registration of the recipe runs on the CPU."""
    if name not in bench.real:
        raise NotHereError(f"run with --real {name}=FOLDER")
    splits = sorted((ROOT / "experiments" / "real" / name).glob("*.csv"))
    split = next(path for path in splits if path.name in ("split.csv", "fold0.csv"))
    where = (f"cohort.root={bench.real[name]}", f"split.file={split}", "annotation.draw=0")
    return minutes(bench, f"real-{name}", "label_set", (f"+ablation={name}", *full), where)


def minutes(
    bench: Bench, name: str, experiment: str, full: tuple[str, ...], phantoms: tuple[str, ...]
) -> Found:
    """Minutes of all steps of a run, from the time of some; validation is not counted."""
    whole = configured(bench, experiment, *full, *phantoms, *QUIET)
    steps = whole.trainer.max_epochs * whole.patches.steps_per_epoch
    options = (*full, *phantoms, *QUIET, *TRIED)
    if bench.dry:
        flat = experiment == "paper_2d"
        keys = (key for key in SHORT if not (flat and key.startswith("network.")))
        options = (*keys, *(("patches.size=[1,32,32]",) if flat else ()), "trainer.max_epochs=1")
    folder = train_run(bench, name.partition(",")[0].replace(" ", "-"), experiment, *options)
    seconds = mean_times(folder / METRICS)["step_seconds"]
    assert seconds is not None
    note = f"counted: {steps} steps of {seconds:.3f} s, validation left out"
    return Found(seconds * steps / 60, "min", note=note)
