"""Scoring a trained run on any labelled cohort."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
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
from neoseg.digests import digest_of_content
from neoseg.evaluation.cohorts import Scored, score_cohorts
from neoseg.evaluation.overview import rich_table
from neoseg.evaluation.scoring import ScoreSettings, hidden_classes
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json
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

OF = "evaluation.json"
"""In a folder of scores: of which scans, and with which settings."""

NOTHING: Mapping[str, tuple[str, str]] = {}

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
    shown: dict[str, tuple[str, str]] = {}
    if other:
        parts = [_usable(scored, spec.prepare, command.on_error, shown) for scored in parts]
    if other or command.split is not None:
        parts = [_unseen(scored, run, command.seen, shown) for scored in parts]
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
    if output.resolve() != run.resolve():
        _claim(output, parts, {"window": window, "scoring": command.scoring.model_dump()})
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


def _claim(output: Path, parts: Sequence[Scored], settings: Mapping[str, Any]) -> None:
    """Keep in a folder what its scores are of; raises `ConfigError` where it has those of others.

    Cohorts that nobody has named are called as their reader is.
    """
    scans = [scan for part in parts for scan in part.scans]
    images = [str(scan.images[0].absolute()) for scan in scans if scan.images[0] is not None]
    told = {
        "cohorts": {part.cohort.name: len(part.scans) for part in parts},
        "images": os.path.commonpath(images) if images else "",
        "scans": digest_of_content(sorted(f"{scan.cohort} {scan.id}" for scan in scans)),
        "settings": digest_of_content(settings),
    }
    path = output / OF
    if path.is_file() and (before := read_json(path)) != told:
        other = [key for key in told if before.get(key) != told[key]]
        raise ConfigError(
            f"{output} has scores of other {', '.join(other)} (images below {before['images']}), "
            "which would be lost; name a folder with output=DIR, or remove that one"
        )
    write_json(path, told)


def _of_part(scans: Sequence[Scan], split: Split, part: Part) -> tuple[Scan, ...]:
    if part == "all":
        return tuple(scan for scan in scans if split.of(scan.subject) is not None)
    return split.scans(scans, part)


def _unseen(
    scored: Scored, run: Path, seen: str, shown: Mapping[str, tuple[str, str]] = NOTHING
) -> Scored:
    """Return the scans without those that the run was trained or validated on, if asked for.

    `shown` has what images show that were read already, by scan.

    Raises:
        DataError: such scans, where the command does not say what to do with them.
    """
    members = [
        Member(scan, "evaluation", *(shown.get(scan.id) or _shown(scan.images[0])))
        for scan in scored.scans
        if scan.label
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
    kept = tuple(s for s in scored.scans if Member(s, "evaluation").person not in people)
    log.warning("%d of %d scans are left out", len(scored.scans) - len(kept), len(scored.scans))
    return replace(scored, scans=kept)


def _usable(
    scored: Scored, prepare: PrepareSettings, on_error: str, shown: dict[str, tuple[str, str]]
) -> Scored:
    """Return the scans without those with labels that cannot be read, if asked for.

    What the images show is added to `shown`.

    Raises:
        DataError: with the faults of all scans, before any of them is segmented.
    """
    bad = dict[str, DataError]()
    for scan in scored.scans:
        if scan.label is None:  # which is not scored
            continue
        try:
            *_, record = read_scan(scan, scored.cohort.convention, prepare)
            shown[scan.id] = (record["digest"], record["signature"])
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


def _shown(path: Path | None) -> tuple[str, str]:
    """Return digest and signature of an image; of one that cannot be read the scoring tells."""
    try:
        return shown_by(read_volume(path)) if path is not None else ("", "")
    except DataError:
        return "", ""
