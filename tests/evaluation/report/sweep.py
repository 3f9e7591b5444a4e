"""Sweeps of finished runs on disk, with scores that a test chooses, and frames of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from neoseg.evaluation.scores import ClassScore
from neoseg.evaluation.table import score_frame, write_scores
from neoseg.evaluation.view import make_view, write_view
from neoseg.labels import Codebook, LabelSpace, LabelTable

NAN = float("nan")
TABLE = {
    "name": "small",
    "background": 0,
    "leaves": [
        {"index": 0, "name": "Clear", "abbreviation": "BG", "color": "#000000"},
        {"index": 1, "name": "Fluid", "abbreviation": "CSF", "color": "#0000ff"},
        {"index": 2, "name": "Grey matter", "abbreviation": "GM", "color": "#ff0000"},
        {"index": 3, "name": "White matter", "abbreviation": "WM", "color": "#ffff00"},
    ],
    "classes": [{"abbreviation": "TCV", "name": "Grey & white", "leaves": ["GM", "WM"]}],
}
AGES = {"p": 33.0, "t": 40.0}

Scans = Mapping[tuple[str, str], Mapping[str, float]]
"""(subject, session) -> abbreviation -> Dice; subjects that start with p are preterm."""


def small_space() -> LabelSpace:
    return LabelSpace.from_table(LabelTable.parse(TABLE))


def scores_of(scans: Scans, hidden: tuple[str, ...] = ("GM", "WM")) -> pd.DataFrame:
    """Scores whose Dice is given; the distances follow from it, 0 is a miss."""
    names = {entry.abbreviation: entry for entry in small_space().classes}
    frames = []
    for (subject, session), dice in scans.items():
        rows = [
            ClassScore(
                name=names[short].name,
                abbreviation=short,
                is_leaf=len(names[short].leaves) == 1,
                dice=value,
                hd95=10 * (1 - value),
                hd=20 * (1 - value),
                assd=1 - value,
                truth_ml=10.0,
                prediction_ml=10.0 * value,
                missed=value == 0,
                invented=False,
                paper_dice=value,
                paper_hd_voxels=10 * (1 - value),
                nsd=value,
            )
            for short, value in dice.items()
        ]
        frames.append(
            score_frame(
                rows,
                subject=subject,
                session=session,
                scan_age=AGES[subject[0]] + len(session) / 10,
                age_group="preterm" if subject[0] == "p" else "term",
                hidden=hidden,
            )
        )
    return pd.concat(frames, ignore_index=True)


def frame_of(
    scans: Scans,
    *,
    name: str = "iuc",
    fraction: float = 0.05,
    draw: float = 0.0,
    seed: float = 0.0,
    run: str = "r",
    hidden: tuple[str, ...] = ("GM", "WM"),
) -> pd.DataFrame:
    """Scores as `collect` returns them, of one run."""
    keys = {"experiment": name, "full_fraction": fraction, "draw": draw, "seed": seed, "run": run}
    return scores_of(scans, hidden).assign(**keys)


def volumes(seed: int, shift: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth codes and predicted leaves of a small head."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1.3, 1.3, n) for n in (22, 26, 20)], indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    leaves = np.select([radius < 0.4, radius < 0.7, radius < 1], [3, 2, 1], 0).astype(np.uint8)
    image = leaves * 40.0 + rng.normal(0, 4, leaves.shape)
    return image, leaves + np.uint8(1), np.roll(leaves, shift, axis=0)


def write_run(
    folder: Path,
    scans: Scans,
    *,
    name: str = "iuc",
    fraction: float | None = 0.05,
    draw: int | None = 0,
    views: bool = True,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished run."""
    folder.mkdir(parents=True)
    config = {
        "name": name,
        "seed": 0,
        "labels": TABLE,
        "cohort": {"name": "phantom", "_target_": "neoseg.cohort.read_phantom"},
        "annotation": {"full_fraction": fraction, "draw": draw},
        "loss": {"iuc": {"weight": 1.0}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    content = {"name": name, "seed": 0, "steps": 20, "seconds": 90.0, "device": "CPU"}
    (folder / "run.json").write_text(json.dumps(content | dict(record or {})))
    full = 10 * (draw or 0) + 1  # another draw, other people
    (folder / "annotation.csv").write_text(
        f"subject,session,split,stream,protocol\n{full},1,train,full,full\n2,1,train,partial,tcv\n"
        "2,2,train,partial,tcv\n"
    )
    curves = "epoch,step,train/loss,val/dice\n0,9,1.0,\n0,9,,0.5\n1,19,0.7,\n1,19,,0.6\n"
    (folder / "metrics.csv").write_text(curves)
    write_scores(folder / "scores.csv", scores_of(scans))
    if views:
        codebook = Codebook.build(small_space())
        for number, (subject, session) in enumerate(scans):
            image, truth, leaves = volumes(number, shift=1 + (draw or 0))
            view = make_view(
                f"sub-{subject}_ses-{session}", image, truth, leaves, codebook, (1.0, 0.8, 1.2)
            )
            write_view(folder / "views", view)
    return folder


def dice_of(level: float, scans: tuple[str, ...] = ("p1-1", "t1-1", "t1-2", "t2-1")) -> Scans:
    """Every structure of some scans at about `level`, falling from scan to scan."""
    found = {}
    for number, scan in enumerate(scans):
        subject, session = scan.split("-")
        value = level - 0.03 * number
        found[(subject, session)] = {
            "CSF": value,
            "GM": value - 0.1,
            "WM": value - 0.2,
            "TCV": value + 0.02,
        }
    return found


def write_sweep(folder: Path, names: tuple[str, ...] = ("supervised", "iuc", "full")) -> Path:
    """Three arms, three draws, and a run that has not ended."""
    for place, name in enumerate(names):
        for draw in range(3):
            write_run(
                folder / f"{place}-{draw}",
                dice_of(0.6 + 0.08 * place + 0.01 * draw),
                name=name,
                fraction=1.0 if place == 2 else 0.05,
                draw=draw,
            )
    (folder / "waiting").mkdir()
    (folder / "waiting" / "config.yaml").write_text("name: waiting\n")
    return folder
