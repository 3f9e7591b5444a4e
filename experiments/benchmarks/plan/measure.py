"""Memory and time of training steps, as measured and as predicted, each case in a process.

    python experiments/benchmarks/plan/measure.py --data data [--hippocampus DIR] [--miccai DIR]

Rows that `results.csv` has already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parent / "results.csv"
COMMON = (
    *("trainer=cpu", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"),
    *("patches.workers=0", "logger.wandb.mode=disabled", "score=false"),
    "+trainer.num_sanity_val_steps=0",
)
PHANTOM = ("cohort.phantom.subjects=6",)
CASES: dict[str, tuple[str, ...]] = {
    "default": PHANTOM,
    "segresnet": (*PHANTOM, "network=segresnet", "patches.size=[48,64,48]"),
    "dynunet, mean teacher": (
        *PHANTOM,
        *("network=dynunet", "patches.size=[48,48,48]", "patches.batch_size=3"),
        *("head=softmax", "loss=[marginal_ce,leaf_dice,mean_teacher]"),
    ),
    "unet3d, 88 leaves": (
        *("+experiment=partial_iuc", "labels=drawem87", "annotation=tissues", *PHANTOM),
        *("cohort.labels=drawem87", "patches.size=[64,64,64]"),
    ),
    "unet2d": ("+experiment=paper_2d", *PHANTOM, "patches.size=[1,80,64]", "patches.batch_size=16"),
    "two networks": (*PHANTOM, "loss=[iuc,cross_pseudo]", "patches.size=[64,64,64]"),
    "hippocampus, planned": (
        *("cohort=nnunet", "labels=hippocampus", "annotation.protocol.merge=[HIP]"),
        *("cohort.root={hippocampus}", "plan=always"),
    ),
    "miccai2012 at 1.5 mm, planned": (
        *("cohort=miccai2012", "cohort.root={miccai}", "labels=nmm2012"),
        *("annotation=full", "store.spacing=1.5", "plan=always", "split.fractions=[0.5,0.25,0.25]"),
    ),
}
STEPS, FIRST = 5, 1
"""Steps that are trained, and those that are left out at the start."""


def overrides(case: str, folders: argparse.Namespace) -> list[str]:
    return [line.format(**vars(folders)) for line in (*COMMON, *CASES[case])]


def work(case: str, folders: argparse.Namespace) -> dict[str, Any]:
    """Measure in this process, and predict afterwards, which leaves its peak of memory alone."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from neoseg.configuration.config import CONFIG_DIR
    from neoseg.planning.make import parse_planned

    lines = [*overrides(case, folders), f"paths.data={folders.data}"]
    folder = Path(folders.data).resolve() / "plans" / case.replace(" ", "_").replace(",", "")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", lines, return_hydra_config=True)
        hydra = config.hydra
        keys = [str(key) for key in config if key != "hydra"]
        config = OmegaConf.masked_copy(config, keys)
        from neoseg.configuration.run import RunConfig

        run = parse_planned(RunConfig, config, hydra, folder)
    plan = run.plan()
    from neoseg.planning.cost import expected

    row = measured(run, plan)
    found = expected(run, plan)
    return {**row, "predicted_gib": found.memory / 2**30, "predicted_s": found.step}


def measured(run: Any, plan: Any) -> dict[str, Any]:
    import lightning as L
    from lightning.pytorch.callbacks import Callback

    from neoseg.runs.stage_data import prepared_data
    from neoseg.runs.trainer import stage_trainer
    from neoseg.training.recipe import stages_of

    run = run.model_copy(
        update={"patches": run.patches.model_copy(update={"steps_per_epoch": STEPS})}
    )
    times: list[float] = []

    class Clock(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            times.append(time.process_time())

    L.seed_everything(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        stage = stages_of(run.recipe)[-1]
        trainer = stage_trainer(run, Path(folder), stage)
        trainer.callbacks.append(Clock())
        module = run.module(plan)
        trainer.fit(module, prepared_data(run, plan, stage, module.objective.needs_teacher))
    return {
        "patch": "x".join(map(str, run.patches.size)),
        "batch": run.patches.batch_size,
        "parameters": sum(value.numel() for value in module.network.parameters()),
        "measured_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "measured_s": (times[-1] - times[FIRST - 1]) / (len(times) - FIRST),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data", help="where data is prepared")
    parser.add_argument("--hippocampus", help="Task04 of the Medical Decathlon")
    parser.add_argument("--miccai", help="scans of MICCAI 2012 as BIDS derivatives")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        logging.disable(logging.INFO)
        print("\n" + json.dumps(work(given.work, given)))
        return
    rows = pd.read_csv(RESULTS).to_dict("records") if RESULTS.is_file() else []
    for case in given.only or CASES:
        lines = "".join(CASES[case])
        if any(row["case"] == case for row in rows) or any(
            f"{{{name}}}" in lines and getattr(given, name) is None
            for name in ("hippocampus", "miccai")
        ):
            continue
        result = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--work", case],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        row: dict[str, Any] = {"case": case, **json.loads(result.stdout.splitlines()[-1])}
        row["memory_ratio"] = row["predicted_gib"] / row["measured_gib"]
        row["time_ratio"] = row["predicted_s"] / row["measured_s"]
        rows.append(row)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
