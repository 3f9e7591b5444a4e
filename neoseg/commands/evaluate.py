"""Scoring a trained run on any labelled cohort."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig
from pydantic import Field
from rich.console import Console

from neoseg import __version__
from neoseg.cohort.modality import with_modalities
from neoseg.cohort.split import split_of
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.data import DataConfig
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.scoring import ScoreSettings, hidden_classes
from neoseg.evaluation.table import rich_table
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.progress import progress_bar
from neoseg.runs.loading import load_config, warn_of_unfinished
from neoseg.store.voxel_size import VoxelSize

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test", "all"]


class EvaluateConfig(CommandConfig):
    """What `conf/evaluate.yaml` holds; without `cohort` and `split` those of the run are used."""

    allow: tuple[str, ...] = ()
    run: Path
    cohort: dict[str, Any] | None = None
    split: dict[str, Any] | None = None
    part: Part | None = None
    output: Path | None = None
    device: str = "auto"
    pictures: int = Field(default=4, ge=0)
    scoring: ScoreSettings = ScoreSettings()
    voxel_size: VoxelSize | None = None
    window: dict[str, Any] = Field(default_factory=dict)
    paths: dict[str, Any] = Field(default_factory=dict)

    def data(self) -> DataConfig:
        """Return the cohorts and the split of the run, or the others that are asked for.

        Of the run's own file only what is about data is looked at: neither its losses nor its
        optimizer need be there.
        """
        trained = load_config(self.run)
        kept = {key: trained[key] for key in DataConfig.model_fields if key in trained}
        other = {"cohort": self.cohort, "split": self.split}
        kept |= {key: value for key, value in other.items() if value is not None}
        return DataConfig.parse(kept | {"allow": list(self.allow)})


def main(config: DictConfig) -> None:
    """Segment the chosen scans and write `scores.csv`, segmentations, pictures and views."""
    command = EvaluateConfig.parse(config)
    run, data = command.run, command.data()
    warn_of_unfinished([run])
    trained = TrainedNetwork.load(run, command.device, allow=command.allow)
    spec = trained.spec
    other = command.cohort is not None
    with progress_bar("phantom") as bar:
        cohort = data.read_cohort(progress=bar.update_to)
    cohort = with_modalities(cohort, spec.modalities, spec.missing_modality)
    usual: Part = "all" if other else "test"
    part = command.part or usual
    if other:
        cohorts = [(cohort, None if part == "all" else split_of(cohort, data.split))]
    else:
        cohorts = [(source.cohort, source.split) for source in data.plan(cohort).sources]
    parts = [
        Scored(c, c.scans if part == "all" or split is None else split.scans(c.scans, part))
        for c, split in cohorts
    ]
    name = "+".join(part.cohort.name for part in parts)
    # The scores of another part have a folder of their own.
    place = name if part == usual else f"{name}_{part}"
    output = command.output or run / "evaluation" / place
    window = {**command.window, "voxel_size": command.voxel_size}
    with progress_bar("score", total=sum(len(part.scans) for part in parts)) as bar:
        table = score_cohorts(
            segmenter_of(spec, trained.network, trained.device, **window),
            parts,
            output,
            Provenance("neoseg", __version__, run.resolve().name),
            hidden=hidden_classes(spec.codebook),
            pictures=command.pictures,
            settings=command.scoring,
            progress=bar.advance,
        )
    Console().print(rich_table(table, f"{run.name} on {name}, {part}"))
    log.info("scores: %s", output / "scores.csv")
