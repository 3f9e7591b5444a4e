"""Out-of-fold scores: training scans scored by networks that have not seen their subjects."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from neoseg.cohort import Plan
from neoseg.cohort.folds import fold_of_each
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of_content
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.provenance import (
    evaluation_inputs,
    is_scored,
    record_inputs,
    record_scores,
)
from neoseg.evaluation.scoring import hidden_classes
from neoseg.evaluation.table import COLUMNS, read_scores
from neoseg.findings.markup import write_csv
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.progress import progress_bar
from neoseg.training.recipe import RecipeSettings, Stage, stages_of

log = logging.getLogger(__name__)

OUT_OF_FOLD = "oof_scores.csv"
"""Scores of each labelled training scan, in the folder of a run with folds."""


def held_out(recipe: RecipeSettings, plan: Plan) -> Iterator[tuple[Stage, list[Scored]]]:
    """Yield each stage that holds out a fold, with the scans of that fold by cohort."""
    stages = [stage for stage in stages_of(recipe) if stage.fold is not None]
    folds = fold_of_each(plan, len(stages), recipe.draw) if stages else {}
    for stage in stages:
        parts = [
            Scored(
                source.cohort,
                tuple(s for s, _ in source.of_split("train") if folds[s.subject] == stage.fold),
            )
            for source in plan.sources
        ]
        yield stage, parts


def score_out_of_fold(run: RunConfig, folder: Path, plan: Plan, device: torch.device) -> None:
    """Segment and score each fold with the network trained without it.

    The results of a fold are written to its stage's folder; a fold with scores of the same files,
    labels and weights is not scored again. All are collected in `OUT_OF_FOLD`, whose column `fold`
    counts from 1.
    """
    tables = []
    for stage, parts in held_out(run.recipe, plan):
        stage_folder = stage.folder(folder)
        assert stage.fold is not None
        if not any(part.is_labelled for part in parts):
            continue
        trained = TrainedNetwork.load(stage_folder, str(device), allow=run.allow)
        segmenter = segmenter_of(trained.spec, trained.network, trained.device)
        settings = {"window": segmenter.window.model_dump(), "scoring": run.scoring.model_dump()}
        weights = predicting_checkpoint(stage_folder)
        told = evaluation_inputs(f"{folder.name} {stage.name}", weights, parts, settings)
        if not is_scored(stage_folder, told):
            record_inputs(stage_folder, told)
            with progress_bar(f"fold {stage.name}", total=sum(len(p.scans) for p in parts)) as bar:
                score_cohorts(
                    segmenter,
                    parts,
                    stage_folder,
                    Provenance.of(folder.name),
                    hidden=hidden_classes(plan.codebook),
                    pictures=0,
                    settings=run.scoring,
                    progress=bar.advance,
                    made_of=digest_of_content(told),
                )
            record_scores(stage_folder, told)
        tables.append(read_scores(stage_folder / "scores.csv").assign(fold=stage.fold + 1))
    if tables:
        frame = pd.concat(tables, ignore_index=True)[["fold", *COLUMNS]]
        write_csv(folder / OUT_OF_FOLD, frame, float_format="%.17g")
        log.info("scores of the training scans by the folds: %s", folder / OUT_OF_FOLD)
