"""Calibrate runs on labelled scans that they were not trained on."""

import logging
from collections.abc import Sequence
from typing import Literal

from omegaconf import DictConfig
from pydantic import Field
from rich.console import Console
from rich.table import Table

from neoseg.cohort import Cohort, Scan
from neoseg.cohort.scan import person_of
from neoseg.cohort.split import shuffled
from neoseg.commands.predicting import PredictingConfig
from neoseg.configuration.outputs import can_be_written
from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.scores import score_scan
from neoseg.evaluation.scoring import codebook_of, truth_of
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import BEST, predicting_checkpoint
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import Codebook, Convention
from neoseg.progress import progress_bar
from neoseg.runs.loading import load_config
from neoseg.runs.unseen import Ids, member_of, seen_in_training
from neoseg.store.leaks import Leaks, require_none, warn_of_twins
from neoseg.trust.calibration import Calibration
from neoseg.trust.chain import Chains
from neoseg.trust.folder import conclude, keep, place_of, read
from neoseg.trust.observation import Observation, Observer

log = logging.getLogger(__name__)

LEVELS = (0.8, 0.9, 0.95, 0.99)


class CalibrateConfig(PredictingConfig):
    """Schema of `conf/calibrate.yaml`."""

    part: Literal["val", "test"] = "val"
    subjects: tuple[str, ...] | None = None
    fraction: float = Field(default=1.0, gt=0, le=1)
    draw: int = Field(default=0, ge=0)


def main(config: DictConfig) -> None:
    """Observe every chosen scan that is not cached yet, and report the calibration."""
    command = CalibrateConfig.parse(config)
    segmenter, modalities = command.load()
    origin = command.origin()
    folder = place_of(command.run[0], origin)
    if not can_be_written(folder):
        raise ConfigError(
            f"{folder} cannot be written, and a calibration is kept in the run that it is of; copy "
            f"{command.run[0]} to a place of your own, and name that one as run"
        )
    scans = _scans_to_observe(command, modalities)
    cohorts = {cohort.name: cohort for cohort, _ in scans.values()}
    codebooks = {
        name: codebook_of(cohort.scans, cohort.convention) for name, cohort in cohorts.items()
    }
    observations = []
    with progress_bar("observe", total=len(scans)) as bar:
        for name, (cohort, scan) in scans.items():
            files = [digest_of(p) for p in (*scan.images, scan.label, scan.mask) if p is not None]
            digest = digest_of_content([files, [sorted(s) for s in scan.sets(cohort.convention)]])
            observation = read(folder, name, segmenter.head.space, digest)
            if observation is None:
                observation = observe(
                    segmenter, scan, cohort.convention, codebooks[cohort.name], name
                )
                keep(folder, observation, digest)
            observations.append(observation)
            bar.advance(name)
    calibration = Calibration.of(segmenter.head.space, observations)
    conclude(folder, calibration, origin, command.settings)
    Console().print(_table(calibration))
    partial = sum(not observation.whole for observation in observations)
    if partial:
        log.warning(
            "%d of %d scans are partially annotated: for them the promise is only that predictions "
            "do not contradict the annotation",
            partial,
            len(observations),
        )
    namesakes = load_config(command.run[0]).get("leaks") == "namesakes"
    people = len(
        {
            (cohort.name if namesakes else "", person_of(scan.subject))
            for cohort, scan in scans.values()
        }
    )
    if people < len(scans):
        log.warning(
            "%d scans are of %d people: each counts as if it were somebody's only one, and those "
            "of one person are alike, so that for new people the promises are too optimistic",
            len(scans),
            people,
        )
    log.info("calibrated on %d scans, kept in %s", len(observations), folder)


def _scans_to_observe(
    command: CalibrateConfig, modalities: tuple[str, ...]
) -> dict[str, tuple[Cohort, Scan]]:
    """Return the chosen scans and their cohorts by scan name; raises `ConfigError`."""
    plan = command.plan(modalities)
    scans = {
        plan.scan_name(source, scan): (source.cohort, scan)
        for source in plan.sources
        for scan in source.split.scans(source.cohort.scans, command.part)
        if scan.label is not None
    }
    people = _chosen_people(command, {scan.subject for _, scan in scans.values()})
    scans = {name: pair for name, pair in scans.items() if pair[1].subject in people}
    if not scans:
        raise ConfigError(
            f"the {command.part} part of the run has no labelled scan; take part=test with a "
            "fraction, and evaluate on the others"
        )
    _require_untrained(command, [scan for _, scan in scans.values()])
    if command.part == "val":
        best = [run.name for run in command.run if predicting_checkpoint(run).name == BEST]
        if best:
            log.warning(
                "%s predict with the weights that were best on the validation scans, which are "
                "used here again: promises are a little too optimistic; part=test avoids that",
                ", ".join(best),
            )
    return scans


def _chosen_people(command: CalibrateConfig, labelled: set[str]) -> set[str]:
    """Return the people of the command, or of all that are labelled, by its fraction and draw."""
    people = sorted(labelled)
    if command.subjects is not None:
        unknown = sorted(set(command.subjects) - labelled)
        if unknown:
            raise ConfigError(f"subjects names {unknown}, who have no labels in {command.part}")
        people = sorted(command.subjects)
    count = max(1, round(command.fraction * len(people)))
    return set(shuffled(people, "calibrate", command.draw)[:count])


def _require_untrained(command: CalibrateConfig, scans: Sequence[Scan]) -> None:
    """Raise `DataError` for scans of people in the training of a run, by id or image."""
    members = [member_of(scan, command.part) for scan in scans]
    remedy = (
        "an answer about people on whom a network was trained says nothing about others: choose "
        "subjects=[...]"
    )
    for run in command.run:
        leaks: Leaks = load_config(run).get("leaks", "stop")
        ids: Ids = "cohort" if leaks == "namesakes" else "all"
        found = seen_in_training([run], members, ids, ["train"])
        require_none(found, "tell" if leaks == "tell" else "stop", remedy)
    warn_of_twins(members)


def observe(
    segmenter: Segmenter | Ensemble, scan: Scan, meaning: Convention, codebook: Codebook, name: str
) -> Observation:
    """Segment a labelled scan, and compare the prediction with its ground truth."""
    chains = Chains.of(codebook.space)
    observer = Observer(chains, codebook, lambda grid: truth_of(scan, meaning, codebook, grid))
    segmentation = segmenter.segment(scan.images, mask=scan.mask, watch=observer)
    assert observer.truth is not None
    spacing = segmentation.geometry.canonical_spacing
    scores = score_scan(segmentation.leaves, observer.truth, codebook, spacing, distances=False)
    dice = {s.abbreviation: float(s.dice) for s in scores if s.dice == s.dice}
    return observer.observation(name, dice, segmentation)


def _table(calibration: Calibration) -> Table:
    table = Table(title=f"what can be promised from {calibration.scans} scans")
    for title in ("sets", "doubt left", "wrong here", "mean depth", "mean leaves"):
        table.add_column(title, justify="right")
    for level in LEVELS:
        limits = calibration.limits(level)
        if limits is None:
            table.add_row(f"{level:g}", f"needs {calibration.needs(level)} scans", "", "", "")
            continue
        index = limits.place
        wrong_share = calibration.losses[0, index] / calibration.known[0]
        depth, size = calibration.depth[index], calibration.size[index]
        doubt = "all" if limits.doubts.max() < 0 else f"{limits.doubts.max():.2g}"
        row = (f"{wrong_share:.3f}", f"{depth:.3f}", f"{size:.2f}")
        table.add_row(f"{level:g}", doubt, *row)
    return table
