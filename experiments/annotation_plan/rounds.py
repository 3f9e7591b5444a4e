"""Annotate hippocampi in rounds, as three strategies would, and train after each round.

    python experiments/annotation_plan/rounds.py TASK04_FOLDER WORK_FOLDER [--seeds 0 1 2 3 4]

A seed draws 60 people, of whom two are drawn in full at first; of the others nothing is known. In
each round a strategy spends 120 minutes: *plan* as `neoseg.plan_annotation` says, *random* on any
scans at any depth, *full_only* on any scans in full. The network then goes on learning from all
that is annotated. Runs that are finished are not repeated. Writes results.csv in WORK_FOLDER.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

SPLIT = Path(__file__).parents[1] / "real" / "hippocampus" / "split.csv"
PEOPLE = 60
BUDGET = 120.0
MINUTES = {"full": 60.0, "HIP": 30.0, "coronal_5": 7.5}
"""Of an annotation: everything; the whole hippocampus as one; five slices of about forty."""

ARMS = ("plan", "random", "full_only")
COLUMNS = ("seed", "arm", "round", "minutes", "full", "HIP", "coronal_5", "hidden", "whole")


def run(module: str, *arguments: str) -> None:
    """Run a command of neoseg; its failure ends the experiment."""
    subprocess.run([sys.executable, "-m", f"neoseg.{module}", *arguments], check=True)


def train(
    folder: Path, before: Path, told: Mapping[str, str], given: argparse.Namespace, seed: int
) -> None:
    """Train on what is annotated, from the weights of the round before where there is one."""
    table = folder.with_suffix(".csv")
    table.parent.mkdir(parents=True, exist_ok=True)
    split = pd.read_csv(SPLIT)
    rows = told | dict.fromkeys(split.loc[split["split"] == "test", "subject"], "full")
    pd.DataFrame(rows.items(), columns=["subject", "annotation"]).to_csv(table, index=False)
    slices = "{coronal_5: {slices: {plane: coronal, share: 0.1, spacing: even}}}"
    run(
        "train",
        "+experiment=label_set",
        "labels=hippocampus",
        "cohort=nnunet",
        f"cohort.root={given.task}",
        f"cohort.subjects=[{','.join(rows)}]",
        "split=file",
        f"split.file={SPLIT}",
        "split.subset=true",
        "annotation=table",
        f"annotation.file={table}",
        "annotation.full_fraction=null",
        f"annotation.protocols={slices}",
        "annotation.validation=none",
        "store.crop_margin=null",
        "patches.size=[32,48,32]",
        "patches.batch_size=4",
        f"patches.steps_per_epoch={given.steps}",
        "patches.mix={full: 0.25, partial: 0.5, unlabelled: 0.0}",
        "trainer.max_epochs=1",
        f"seed={seed}",
        "logger=csv",
        "pictures=0",
        f"paths.data={given.work / 'data'}",
        f"hydra.run.dir={folder}",
        *([f"init_from={before}"] if before.is_dir() else []),
    )


def planned(before: Path, folder: Path, budget: float) -> dict[str, str]:
    """Return what `neoseg.plan_annotation` would do next."""
    run(
        "plan_annotation",
        f"run={before}",
        f"budget={budget}",
        f"output={folder}",
        "overwrite=true",
        f"minutes.full={MINUTES['full']}",
        f"minutes.slice={MINUTES['coronal_5'] / 5}",
        f"minutes.named={{HIP: {MINUTES['HIP']}}}",
        "slices.plane=coronal",
        "slices.count=5",
        "device=cpu",
    )
    rows = pd.read_csv(folder / "plan.tsv", sep="\t")
    return {str(row.scan).removeprefix("sub-"): str(row.annotation) for row in rows.itertuples()}


def drawn(
    told: Mapping[str, str], budget: float, depths: tuple[str, ...], chance: np.random.Generator
) -> dict[str, str]:
    """Return scans and depths drawn at random from all that tell more than what is known."""
    found: dict[str, str] = {}
    while True:
        options = [
            (subject, depth)
            for subject, now in told.items()
            for depth in depths
            if subject not in found
            and MINUTES[depth] <= budget + 1e-9
            and (now == "unlabelled" or (depth == "full" and now != "full"))
        ]
        if not options:
            return found
        subject, depth = options[chance.integers(len(options))]
        found[subject] = depth
        budget -= MINUTES[depth]


def scored(folder: Path) -> tuple[float, float]:
    """Return mean Dice of the two parts and of the whole over the test people."""
    dice = pd.read_csv(folder / "scores.csv").groupby("abbreviation")["dice"].mean()
    return float((dice["ANT"] + dice["POST"]) / 2), float(dice["HIP"])


def main() -> None:
    """Run what is asked and not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="of each round's training")
    given = parser.parse_args()
    given.task, given.work = given.task.resolve(), given.work.resolve()
    split = pd.read_csv(SPLIT)
    pool = sorted(split.loc[split["split"] == "train", "subject"])
    results = given.work / "results.csv"
    done = pd.read_csv(results) if results.is_file() else pd.DataFrame(columns=COLUMNS)
    for seed in given.seeds:
        chance = np.random.default_rng(seed)
        people = sorted(chance.choice(pool, PEOPLE, replace=False))
        first = dict.fromkeys(people, "unlabelled") | dict.fromkeys(
            chance.choice(people, 2, replace=False), "full"
        )
        for arm in ("start", *ARMS):
            told, spent = dict(first), 0.0
            chance = np.random.default_rng([seed, len(arm)])
            for number in [0] if arm == "start" else range(1, given.rounds + 1):
                folder = given.work / f"seed{seed}" / arm / f"round{number}"
                before = folder.parent / f"round{number - 1}"
                if number == 1:
                    before = folder.parents[1] / "start" / "round0"
                table = folder.with_suffix(".csv")
                left = BUDGET * number - spent
                if number and table.is_file():
                    now = pd.read_csv(table).set_index("subject")["annotation"].to_dict()
                    added = {name: now[name] for name in told if now[name] != told[name]}
                elif arm == "plan":
                    added = planned(before, folder.with_name(f"plan{number}"), left)
                elif number:
                    depths = ("full",) if arm == "full_only" else tuple(MINUTES)
                    added = drawn(told, left, depths, chance)
                else:
                    added = {}
                told |= added
                spent += sum(MINUTES[depth] for depth in added.values())
                if not (folder / "scores.csv").is_file():
                    train(folder, before, told, given, seed)
                known = list(told.values())
                counts = [known.count(depth) for depth in MINUTES]
                row = [seed, arm, number, spent, *counts, *(round(v, 4) for v in scored(folder))]
                same = (done["seed"] == seed) & (done["arm"] == arm) & (done["round"] == number)
                done = pd.concat([done[~same], pd.DataFrame([row], columns=COLUMNS)])
                done.to_csv(results, index=False)
                print(*row, flush=True)


if __name__ == "__main__":
    main()
