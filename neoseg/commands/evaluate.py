"""Scoring a trained run on any labelled cohort."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig
from pydantic import Field, model_validator
from rich.console import Console

from neoseg import __version__
from neoseg.cohort import Scan
from neoseg.cohort.annotation import FULL
from neoseg.cohort.modality import with_modalities
from neoseg.cohort.split import Split, split_of
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.data import DataConfig
from neoseg.configuration.outputs import AnyFolder, as_own_folder
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.kept import keep, require_own, told_of
from neoseg.evaluation.overview import rich_table
from neoseg.evaluation.scoring import ScoreSettings, hidden_classes
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.progress import progress_bar
from neoseg.runs.loading import load_config, tell_elsewhere, warn_of_unfinished
from neoseg.runs.people import as_trained, seen_by
from neoseg.store import DataError, PrepareSettings, read_volume
from neoseg.store.leaks import Member, by_image, by_name, require_none
from neoseg.store.reading import read_scan, shown_by
from neoseg.store.voxel_size import VoxelSize

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test", "all"]


class EvaluateConfig(CommandConfig):
    """What `conf/evaluate.yaml` holds; without `cohort` and `split` those of the run are used.

    So is `annotation`, which of another cohort says what its label files tell.
    """

    allow: tuple[str, ...] = ()
    run: Path
    cohort: dict[str, Any] | None = None
    split: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    part: Part | None = None
    seen: Literal["stop", "leave_out", "score"] = "stop"
    on_error: Literal["stop", "skip"] = "stop"
    output: AnyFolder | None = None
    overwrite: bool = False
    device: str = "auto"
    pictures: int = Field(default=4, ge=0)
    scoring: ScoreSettings = ScoreSettings()
    voxel_size: VoxelSize | None = None
    window: dict[str, Any] = Field(default_factory=dict)
    paths: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_run_keeps_its_scores(self) -> EvaluateConfig:
        """Its own test scans alone are scored again in the folder of a run."""
        own = self.cohort is None and self.split is None and self.part in (None, "test")
        if self.output is None or (own and self.output.resolve() == self.run.resolve()):
            return self
        try:
            as_own_folder(self.output)
        except ValueError as error:
            raise ConfigError(f"output = '{self.output}': {error}") from None
        return self

    def data(self) -> DataConfig:
        """Return the cohorts and the split of the run, or the others that are asked for.

        Of the run's own file only what is about data is looked at: neither its losses nor its
        optimizer need be there.
        """
        trained = load_config(self.run)
        kept = {key: trained[key] for key in DataConfig.model_fields if key in trained}
        annotation = self.annotation
        if self.cohort is not None and annotation is None:  # that of the run names other people
            annotation = {"full_fraction": 1.0, "protocol": {"name": FULL}}
        if self.cohort is None:
            tell_elsewhere(self.run, trained)
        other = {"cohort": self.cohort, "split": self.split, "annotation": annotation}
        kept |= {key: value for key, value in other.items() if value is not None}
        return DataConfig.parse(kept | {"allow": list(self.allow)})


def main(config: DictConfig) -> None:
    """Segment the chosen scans and write `scores.csv`, segmentations, pictures and views."""
    command = EvaluateConfig.parse(config)
    run, data = command.run, command.data()
    warn_of_unfinished([run])
    trained = TrainedNetwork.load(run, command.device, allow=command.allow)
    spec = trained.spec
    # It is the run's voxel size that counts, whatever that of the cohort.
    data = data.model_copy(update={"store": spec.prepare})
    other = command.cohort is not None
    with progress_bar("phantom") as bar:
        read = data.read_cohort if other else data.usable_cohort
        cohort = read(progress=bar.update_to)
    cohort = with_modalities(cohort, spec.modalities, spec.missing_modality)
    usual: Part = "all" if other else "test"
    part = command.part or usual
    if other:
        cohorts = [(cohort, None if part == "all" else split_of(cohort, data.split))]
    else:
        plan = data.plan(cohort)
        plan = plan if command.split is not None else as_trained(plan, run)
        cohorts = [(source.cohort, source.split) for source in plan.sources]
    parts = [
        Scored(c, c.scans if split is None else _of_part(c.scans, split, part))
        for c, split in cohorts
    ]
    if other or command.split is not None:
        parts = [_unseen(scored, run, command.seen) for scored in parts]
    if other:
        parts = [_usable(scored, spec.prepare, command.on_error) for scored in parts]
    name = "+".join(part.cohort.name for part in parts)
    if not any(scored.is_labelled for scored in parts):
        raise ConfigError(
            f"there is nothing to score: of {sum(len(p.scans) for p in parts)} scans of '{name}' "
            f"({part}) none has a label file; choose another part, or segment them with "
            "neoseg.predict"
        )
    # The scores of another part have a folder of their own.
    place = name if part == usual else f"{name}_{part}"
    output = command.output or run / "evaluation" / place
    window = {**command.window, "voxel_size": command.voxel_size}
    segmenter = segmenter_of(spec, trained.network, trained.device, **window)
    settings = {"window": segmenter.window.model_dump(), "scoring": command.scoring.model_dump()}
    settings["window"]["voxel_size"] = segmenter.prepare.spacing
    told = told_of(run.resolve().name, predicting_checkpoint(run), parts, settings)
    if output.resolve() != run.resolve():
        if not command.overwrite:
            require_own(output, told)
        keep(output, told)
    with progress_bar("score", total=sum(len(part.scans) for part in parts)) as bar:
        table = score_cohorts(
            segmenter,
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


def _of_part(scans: Sequence[Scan], split: Split, part: Part) -> tuple[Scan, ...]:
    if part == "all":
        return tuple(scan for scan in scans if split.of(scan.subject) is not None)
    return split.scans(scans, part)


def _unseen(scored: Scored, run: Path, seen: str) -> Scored:
    """Return the scans without those that the run was trained or validated on, if asked for.

    Raises:
        DataError: such scans, where the command does not say what to do with them.
    """
    members = [
        Member(scan, "evaluation", *_shown(scan.images[0])) for scan in scored.scans if scan.label
    ]
    for pair in by_image([replace(member, part=member.person) for member in members]):
        log.warning("%s and %s show the same, and count as two people", pair.first, pair.other)
    known = [*seen_by(run), *members]
    found = [k for k in (*by_name(known), *by_image(known)) if k.other.part == "evaluation"]
    remedy = (
        "set seen=leave_out to score the others, or seen=score to score these as well: scores of "
        "people that a network was trained on say nothing about others"
    )
    require_none(found, "stop" if seen == "stop" else "tell", remedy)
    if seen != "leave_out":
        return scored
    people = {leak.other.person for leak in found}
    kept = tuple(m.scan for m in map(_plain, scored.scans) if m.person not in people)
    log.warning("%d of %d scans are left out", len(scored.scans) - len(kept), len(scored.scans))
    return replace(scored, scans=kept)


def _usable(scored: Scored, prepare: PrepareSettings, on_error: str) -> Scored:
    """Return the scans without those with labels that cannot be read, if asked for.

    Raises:
        DataError: with the faults of all scans, before any of them is segmented.
    """
    bad = dict[str, DataError]()
    for scan in scored.scans:
        if scan.label is None:  # which is not scored
            continue
        try:
            read_scan(scan, scored.cohort.convention, prepare)
        except DataError as error:
            bad[scan.id] = error
    if not bad:
        return scored
    count = f"{len(bad)} of {len(scored.scans)} scans of cohort '{scored.cohort.name}'"
    lines = "\n".join(f"  {name}: {error}" for name, error in bad.items())
    if on_error == "stop":
        remedy = "repair them, leave them out with cohort.exclude=[...], or set on_error=skip"
        raise DataError(f"{count} cannot be scored:\n{lines}\n{remedy}")
    log.warning("%s are left out (on_error=skip)\n%s", count, lines)
    return replace(scored, scans=tuple(scan for scan in scored.scans if scan.id not in bad))


def _plain(scan: Scan) -> Member:
    return Member(scan, "evaluation")


def _shown(path: Path | None) -> tuple[str, str]:
    """Return digest and signature of an image; of one that cannot be read the scoring tells."""
    try:
        return shown_by(read_volume(path)) if path is not None else ("", "")
    except DataError:
        return "", ""
