"""Score a trained run on any labelled cohort: `python -m neoseg.evaluate run=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from neoseg import __version__
from neoseg.cohort import SPLITS, with_modalities
from neoseg.configuration.assembly import annotated_of, cohort_of, split_of
from neoseg.configuration.command import command
from neoseg.configuration.config import plain, settings_of
from neoseg.evaluation import Scored, ScoreSettings, hidden_classes, rich_table, score_cohorts
from neoseg.findings.settings import ConfigError
from neoseg.inference import Provenance
from neoseg.progress import progress_bar
from neoseg.runs.loading import load_config, load_module, segmenter_of, warn_of_unfinished

log = logging.getLogger(__name__)

PARTS = (*SPLITS, "all")


@command("evaluate")
def main(config: DictConfig) -> None:
    """Segment the chosen scans and write `scores.csv`, segmentations, pictures and views."""
    run = Path(config.run)
    trained = load_config(run)
    warn_of_unfinished([run])
    module = load_module(run, config.device)
    other = "cohort" in config
    if other:
        trained.cohort = config.cohort
    if "split" in config:
        trained.split = config.split
    with progress_bar("phantom") as bar:
        cohort = cohort_of(trained, module.space, bar.update_to)
    cohort = with_modalities(cohort, module.hparams["modalities"], module.missing_modality)
    usual = "all" if other else "test"
    part = config.part or usual
    if part not in PARTS:
        raise ConfigError(f"part is {part}; use {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    if other:
        cohorts = [(cohort, None if part == "all" else split_of(trained, cohort))]
    else:
        sources = annotated_of(trained, cohort, split_of(trained, cohort)).sources
        cohorts = [(source.cohort, source.split) for source in sources]
    parts = [
        Scored(c, c.scans if part == "all" or split is None else split.scans(c.scans, part))
        for c, split in cohorts
    ]
    name = "+".join(part.cohort.name for part in parts)
    # The scores of another part have a folder of their own.
    place = name if part == usual else f"{name}_{part}"
    output = Path(config.output) if config.output else run / "evaluation" / place
    with progress_bar("score", total=sum(len(part.scans) for part in parts)) as bar:
        table = score_cohorts(
            segmenter_of(module, **plain(config.window)),
            parts,
            output,
            Provenance("neoseg", __version__, run.resolve().name),
            hidden=hidden_classes(module.codebook),
            pictures=config.pictures,
            settings=settings_of(ScoreSettings, config, "scoring"),
            progress=bar.advance,
        )
    Console().print(rich_table(table, f"{run.name} on {name}, {part}"))
    log.info("scores: %s", output / "scores.csv")


if __name__ == "__main__":
    main()
