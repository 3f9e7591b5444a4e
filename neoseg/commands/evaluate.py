"""Score a trained run on any labelled cohort."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from neoseg.commands.evaluating import EvaluateConfig, parts_to_score
from neoseg.digests import digest_of_content
from neoseg.doctor.openness import without_integer
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.overview import rich_table
from neoseg.evaluation.provenance import (
    evaluation_inputs,
    is_scored,
    record_inputs,
    record_scores,
    require_same_inputs,
)
from neoseg.evaluation.scoring import hidden_classes
from neoseg.evaluation.table import read_scores
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.inference.dataset import Provenance
from neoseg.inference.model_file import code_of
from neoseg.inference.segmenter import Segmenter, segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.own_code import current_code
from neoseg.progress import progress_bar
from neoseg.runs.folder import claimed
from neoseg.runs.loading import warn_of_unfinished

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Segment the chosen scans, and write `scores.csv`, segmentations, pictures and views."""
    command = EvaluateConfig.parse(config)
    run, data = command.run, command.data()
    warn_of_unfinished([run])
    trained = TrainedNetwork.load(run, command.device, allow=command.allow)
    spec = trained.spec
    # Use the voxel size of the run, whatever that of the cohort.
    data = data.model_copy(update={"store": spec.prepare})
    parts, part = parts_to_score(command, data, spec), command.chosen_part
    name = "+".join(scored.cohort.name for scored in parts)
    if not any(scored.is_labelled for scored in parts):
        raise ConfigError(
            f"there is nothing to score: of {sum(len(p.scans) for p in parts)} scans of '{name}' "
            f"({part}) none has a label file; choose another part, or segment them with "
            "neoseg.predict"
        )
    for problem in (p for scored in parts for p in without_integer(scored.cohort, scored.scans)):
        log.warning("%s", problem)
    # Scores of a non-default part have a separate folder.
    folder_name = name if part == command.usual_part else f"{name}_{part}"
    output = command.output or run / "evaluation" / folder_name
    window = {**command.window, "voxel_size": command.voxel_size}
    segmenter = segmenter_of(spec, trained.network, trained.device, **window)
    with claimed(output):
        told = _claim(output, command, parts, segmenter)
        if told is None:
            log.info("scored already, with the same inputs; overwrite=true scores again")
            table = read_scores(output / "scores.csv")
        else:
            with progress_bar("score", total=sum(len(scored.scans) for scored in parts)) as bar:
                table = score_cohorts(
                    segmenter,
                    parts,
                    output,
                    Provenance.of(run.resolve().name),
                    hidden=hidden_classes(spec.codebook),
                    pictures=command.pictures,
                    settings=command.scoring,
                    progress=bar.advance,
                    made_of=digest_of_content(told),
                )
            if output.resolve() != run.resolve():
                record_scores(output, told)
    console = Console()
    console.print(rich_table(table, f"{run.name} on {name}, {part}", console.width))
    log.info("scores: %s", output / "scores.csv")


def _claim(
    output: Path, command: EvaluateConfig, parts: Sequence[Scored], segmenter: Segmenter
) -> dict[str, str] | None:
    """Record in `output`, unless it is the run itself, what its scores are computed from.

    Returns:
        Names and digests of that; None if these scores are there.

    Raises:
        ConfigError: it has scores of other inputs, and the command does not overwrite them.
    """
    run = command.run
    settings = {"window": segmenter.window.model_dump(), "scoring": command.scoring.model_dump()}
    settings["window"]["voxel_size"] = segmenter.prepare.spacing
    if code := current_code(code_of(run), command.allow):
        settings["code"] = dict(code)
    told = evaluation_inputs(run.resolve().name, predicting_checkpoint(run), parts, settings)
    whole = {**told, "pictures": str(command.pictures), "views": str(command.scoring.views)}
    if output.resolve() != run.resolve():
        if not command.overwrite:
            require_same_inputs(output, told)
            if is_scored(output, whole):
                return None
        record_inputs(output, whole)
    return whole
