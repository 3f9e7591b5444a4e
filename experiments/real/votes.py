"""Of the voxels that annotations leave open, how many do atlases name rightly?

    python experiments/real/votes.py [--scans 6] +experiment=partial_superclass OVERRIDES...

With and without `recipe.intensities`, over some of the training scans; what the annotation hides
must be in their files. Prints for each the share of open voxels that are named rightly, the mean
Dice of the leaves there, the share of those said to be probable by 0.9, and how many of them are
right; then the means.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.labelling.atlas import AtlasLabeller
from neoseg.labels import STREAMS
from neoseg.patches.pseudo import CERTAIN, needs_prediction
from neoseg.patches.volumes import VolumeDataset

SURE = 0.9


def measured(overrides: list[str], scans: int) -> pd.DataFrame:
    """Return a row for each scan and setting."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        run = RunConfig.parse(compose("train", overrides))
    plan = run.plan()
    data = run.data(plan, with_teacher=False)
    data.prepare_data()
    data.setup()
    full = tuple(scan for scan in data.train if STREAMS[scan.stream] == "full")
    told = full[0].visible.lookup  # codes of files as leaves
    rows = []
    for scan in [s for s in data.train if needs_prediction(s, plan.codebook)][:scans]:
        sample = VolumeDataset([scan])[0]
        truth = told[scan.entry.read_codes()].astype(int) - 1
        for intensities in (False, True):
            labeller = AtlasLabeller(
                *(plan.codebook, 0.0, 0, "", full, run.recipe.atlases, intensities),
                torch.device("cpu"),
            )
            found = labeller.predict(sample)
            sets = plan.codebook.rows.sum(1)[sample.codes.numpy()]
            open_ = (sets > 1) & (sets < plan.codebook.rows.shape[1])
            true, said = truth[open_], found.leaves[open_]
            right, sure = said == true, found.confidence[open_] >= SURE * CERTAIN
            leaves = np.unique(true)
            sizes = [(true == k).sum() + (said == k).sum() for k in leaves]
            dice = [2 * (right & (true == k)).sum() / n for k, n in zip(leaves, sizes, strict=True)]
            row = [right.mean(), np.mean(dice), sure.mean(), right[sure].mean()]
            rows.append([scan.entry.scan.id, intensities, *row])
            print(*rows[-1], flush=True)
    columns = ["scan", "intensities", "right", "dice", "sure", "right_where_sure"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Print the means."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scans", type=int, default=6)
    parser.add_argument("overrides", nargs="+")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    table = measured(given.overrides, given.scans)
    print(table.groupby("intensities").mean(numeric_only=True).round(3).to_string())


if __name__ == "__main__":
    main()
