"""Conclude a run: score the test scans and write `run.json`, which marks it as finished."""

import logging
import math
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console

from neoseg.cohort import Plan
from neoseg.configuration.config import sweeping
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of_content
from neoseg.evaluation.card import CARD, write_card
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.overview import rich_table
from neoseg.evaluation.scoring import hidden_classes
from neoseg.evaluation.table import mean_dice, read_scores
from neoseg.files import write_json
from neoseg.findings.command_line import again, command, override
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import segmenter_of
from neoseg.labelling.atlas import METHOD
from neoseg.progress import progress_bar
from neoseg.runs.description import describe, git_state, versions
from neoseg.runs.effort import Effort
from neoseg.runs.folder import RECORD
from neoseg.runs.origin import changes_of, scan_keys
from neoseg.runs.results import send_results
from neoseg.runs.start import started_from
from neoseg.runs.start_command import command_of
from neoseg.tracking import METRICS
from neoseg.tracking.curves import mean_times
from neoseg.training.module import SegmentationModule
from neoseg.training.progress_lines import PICTURE

log = logging.getLogger(__name__)


def finished_dice(folder: Path) -> float | None:
    """Return the test Dice of a finished run; None if the run has not finished."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        dice = read_json(path, within=folder)["test_dice"]
        value = float("nan") if dice is None else float(dice)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not what a finished run writes ({error!r}); delete it, and the run is "
            "scored again from its last checkpoint"
        ) from None
    if not (folder / f"{CARD}.md").is_file():  # killed between record and card
        write_card(folder)
    return value


def conclude(
    run: RunConfig,
    folder: Path,
    module: SegmentationModule,
    plan: Plan,
    trainer: L.Trainer,
    effort: Effort,
) -> float:
    """Score the test scans with the final weights, write record and card; return the mean Dice."""
    dice = _score(run, folder, module, plan, trainer) if run.score else float("nan")
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**30 if sys.platform == "darwin" else 2**20
    gpu = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
    registers = run.recipe.teacher in ("atlas", "source_atlas")
    record = {
        "name": run.name,
        "seed": run.seed,
        "test_dice": None if math.isnan(dice) else dice,
        "score_rows": None if math.isnan(dice) else len(read_scores(folder / "scores.csv")),
        "steps": trainer.global_step,
        "seconds": round(effort.seconds(), 1),
        **mean_times(folder / METRICS),
        "peak_memory_gib": round(peak_memory / unit, 3),
        "peak_gpu_memory_gib": None if gpu is None else round(gpu, 3),
        "energy_joules": effort.joules(),
        "device": _device_name(),
        "predict_with": module.predict_with,
        "checkpoint": predicting_checkpoint(folder).name,
        "init": started_from(folder),
        "changes": changes_of(folder),
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "annotation": describe(plan),
        "data": _data_fingerprint(run, plan),
        "versions": {**versions(), **({"registration": str(METHOD)} if registers else {})},
        "git": git_state(),
        "command": command_of(folder),
    }
    write_json(folder / RECORD, record, indent=1)
    write_card(folder)
    send_results(trainer.loggers, folder)
    _log_next_steps(run, folder, plan)
    return dice


def _log_next_steps(run: RunConfig, folder: Path, plan: Plan) -> None:
    """Log the location of the results and, unless this is a job of a sweep, what to do next."""
    log.info("run folder: %s (%s.md, scores.csv, %s, pictures)", folder, CARD, PICTURE)
    if sweeping():
        return
    scans = [scan for source in plan.sources for scan in source.cohort.scans]
    test_scans = [scan for source in plan.sources for scan, _ in source.of_split("test")]
    image = override("input", (test_scans or scans)[0].images[0])
    asked = (override("run", folder), image, "output=segmentations", *again(run.allow))
    segment = command("predict", *asked)
    log.info("segment a scan, such as: %s", segment)
    runs = Path(run.paths.runs)
    is_inside = runs.absolute() in folder.absolute().parents
    compare = command("report", override("runs", runs if is_inside else folder), "output=report")
    log.info("compare all runs: %s", compare)


def _score(
    run: RunConfig,
    folder: Path,
    module: SegmentationModule,
    plan: Plan,
    trainer: L.Trainer,
) -> float:
    parts = [
        Scored(source.cohort, tuple(scan for scan, _ in source.of_split("test")))
        for source in plan.sources
    ]
    if not any(part.is_labelled for part in parts):
        log.warning("no test scan has labels: nothing to score")
        return float("nan")
    module.to(trainer.strategy.root_device)
    with progress_bar("score", total=sum(len(part.scans) for part in parts)) as bar:
        table = score_cohorts(
            segmenter_of(module.spec, module.predictor, module.device),
            parts,
            folder,
            Provenance.of(folder.name),
            hidden=hidden_classes(plan.codebook),
            pictures=run.pictures,
            settings=run.scoring,
            progress=bar.advance,
        )
    console = Console()
    console.print(rich_table(table, run.name, console.width))
    return mean_dice(table)


def _data_fingerprint(run: RunConfig, plan: Plan) -> str:
    """Return 16 hex digits that change with files, labels, preparation or plan of the run."""
    content: list[list[Any]] = []
    keys = scan_keys(run, plan)
    for source in plan.sources:
        cohort = source.cohort
        entries = [[scan.id, keys[cohort.name, scan.id]] for scan in cohort.scans]
        rows = [{k: v for k, v in asdict(a).items() if k != "cohort"} for a in source.assignments]
        content.append([entries, rows])
    # Cohort names are left out, since they do not affect training.
    weights = [source.weight for source in plan.sources]
    return digest_of_content([*content, weights] if len(content) > 1 else content[0])


def _device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores"
