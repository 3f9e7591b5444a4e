"""Score a trained run on any labelled cohort: `python -m neoseg.evaluate run=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from neoseg import __version__
from neoseg.assembly import ConfigError, cohort_of, settings_of, split_of
from neoseg.command import command
from neoseg.config import plain
from neoseg.evaluation import ScoreSettings, hidden_classes, rich_table, score_scans
from neoseg.inference import Provenance
from neoseg.loading import load_config, load_module, segmenter_of
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


@command("evaluate")
def main(config: DictConfig) -> None:
    """Segment the chosen scans and write `scores.csv`, segmentations, pictures and views."""
    run = Path(config.run)
    trained = load_config(run)
    module = load_module(run, config.device)
    other = "cohort" in config
    if other:
        trained.cohort = config.cohort
    if "split" in config:
        trained.split = config.split
    with progress_bar("phantom") as bar:
        cohort = cohort_of(trained, module.space, bar.update_to)
    if list(cohort.modalities) != list(module.hparams["modalities"]):
        raise ConfigError(
            f"the run was trained on {module.hparams['modalities']}, the cohort has "
            f"{list(cohort.modalities)}; set cohort.modalities to the run's"
        )
    part = config.part or ("all" if other else "test")
    scans = list(cohort.scans)
    if part != "all":
        scans = list(split_of(trained, cohort).scans(scans, part))
    output = Path(config.output) if config.output else run / "evaluation" / cohort.name
    with progress_bar("score", total=len(scans)) as bar:
        table = score_scans(
            segmenter_of(module, **plain(config.window)),
            scans,
            cohort.convention,
            output,
            Provenance("neoseg", __version__, run.resolve().name),
            hidden=hidden_classes(module.codebook),
            pictures=config.pictures,
            settings=settings_of(ScoreSettings, config, "scoring"),
            progress=bar.advance,
        )
    Console().print(rich_table(table, f"{run.name} on {cohort.name}"))
    log.info("scores: %s", output / "scores.csv")


if __name__ == "__main__":
    main()
