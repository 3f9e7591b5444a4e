"""Configuration of `neoseg.evaluate`, and the scans that it chooses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from neoseg.cohort import Problem, Scan
from neoseg.cohort.annotation import FULL
from neoseg.cohort.modality import require_each, with_modalities
from neoseg.cohort.split import Split, split_of
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.data import DataConfig
from neoseg.configuration.outputs import AnyFolder, as_own_folder
from neoseg.evaluation.cohorts import Scored
from neoseg.evaluation.scoring import ScoreSettings
from neoseg.findings.settings import ConfigError
from neoseg.inference.model import ModelSpec
from neoseg.runs.loading import Moved, data_of, load_config
from neoseg.runs.people import as_trained
from neoseg.runs.unseen import Ids, member_of, seen_in_training
from neoseg.store import DataError, PrepareSettings
from neoseg.store.examined import warnings_of
from neoseg.store.leaks import Member, require_none, warn_of_twins
from neoseg.store.voxel_size import VoxelSize

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test", "all"]


class EvaluateConfig(CommandConfig):
    """Schema of `conf/evaluate.yaml`; `cohort`, `split` and `annotation` default to the run's.

    For another cohort, `annotation` describes what its label files contain, by default all
    structures.
    """

    allow: tuple[str, ...] = ()
    run: Path
    root: Moved | None = None
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
    def _check_output(self) -> EvaluateConfig:
        """Allow the run folder as output only to score all its own test scans again."""
        is_own = self.cohort is None and self.split is None and self.part in (None, "test")
        whole = is_own and self.seen != "leave_out"
        if self.output is None or (whole and self.output.resolve() == self.run.resolve()):
            return self
        try:
            as_own_folder(self.output)
        except ValueError as error:
            raise ConfigError(f"output = '{self.output}': {error}") from None
        return self

    @property
    def usual_part(self) -> Part:
        """The scans that are scored unless `part` names others."""
        return "test" if self.cohort is None else "all"

    @property
    def chosen_part(self) -> Part:
        """The scans to score."""
        return self.part or self.usual_part

    def data(self) -> DataConfig:
        """Return the cohorts and the split of the run, or those that the command selects.

        Only the data section of the run's configuration is parsed, so that its losses and its
        optimizer need not be installed.
        """
        annotation = self.annotation
        if self.cohort is not None and annotation is None:  # the run's is of other subjects
            annotation = {"full_fraction": 1.0, "protocol": {"name": FULL}}
        changes = {"cohort": self.cohort, "split": self.split, "annotation": annotation}
        return data_of(self.run, self.allow, self.root, **changes)


def parts_to_score(command: EvaluateConfig, data: DataConfig, spec: ModelSpec) -> list[Scored]:
    """Return the chosen scans of each cohort; of another cohort or split, those fit to score.

    Raises:
        DataError: scans of people that the run was trained on, or labels that cannot be read.
    """
    is_other, part = command.cohort is not None, command.chosen_part
    cohort = data.read_cohort() if is_other else data.usable_cohort()
    if is_other:
        require_each([cohort], spec.missing_modality)
    cohort = with_modalities(cohort, spec.modalities, spec.missing_modality)
    if is_other:
        split = None if part == "all" else split_of(cohort, data.split)
        scans = cohort.scans if split is None else _of_part(cohort.scans, split, part)
        scored = _unseen(Scored(cohort, scans), command.run, command.seen, "all")
        return [_readable(scored, spec.prepare, command.on_error)]
    plan = data.plan(cohort)
    plan = plan if command.split is not None else as_trained(plan, command.run)
    parts = [Scored(s.cohort, _of_part(s.cohort.scans, s.split, part)) for s in plan.sources]
    if command.split is not None:
        return [_unseen(scored, command.run, command.seen, "all") for scored in parts]
    if part != "test":
        return parts
    # The ids are those of the test, but files may have been exchanged or given other ids since.
    told = load_config(command.run).get("leaks") == "tell"
    seen = "score" if command.seen == "stop" and told else command.seen
    return [_unseen(scored, command.run, seen, "none") for scored in parts]


def _of_part(scans: Sequence[Scan], split: Split, part: Part) -> tuple[Scan, ...]:
    if part == "all":
        return tuple(scan for scan in scans if split.of(scan.subject) is not None)
    return split.scans(scans, part)


def _unseen(scored: Scored, run: Path, seen: str, ids: Ids) -> Scored:
    """Leave out scans of people that the run was trained or validated on, depending on `seen`.

    Images are compared, and ids as `ids` tells.

    Raises:
        DataError: such scans, with `seen="stop"`.
    """
    members = [member_of(scan, "evaluation") for scan in scored.scans if scan.label]
    warn_of_twins(members)
    leaks = seen_in_training([run], members, ids)
    remedy = (
        "set seen=leave_out to score the others, or seen=score to score these as well: scores of "
        "people that a network was trained on say nothing about others"
    )
    require_none(leaks, "stop" if seen == "stop" else "tell", remedy)
    if seen != "leave_out":
        return scored
    people = {leak.other.person for leak in leaks}
    unseen = tuple(s for s in scored.scans if Member(s, "evaluation").person not in people)
    log.warning("%d of %d scans are left out", len(scored.scans) - len(unseen), len(scored.scans))
    return replace(scored, scans=unseen)


def _readable(scored: Scored, prepare: PrepareSettings, on_error: str) -> Scored:
    """Leave out scans whose labels cannot be read, with `on_error="skip"`.

    Raises:
        DataError: listing the errors of all scans, before any of them is segmented.
    """
    errors, notes = dict[str, DataError](), dict[str, list[Problem]]()
    for scan in scored.scans:
        if scan.label is None:  # not scored
            continue
        try:
            for problem in warnings_of(scan, scored.cohort.convention, prepare):
                notes.setdefault(problem.kind, []).append(problem)
        except DataError as error:
            errors[scan.id] = error
    for first, *others in notes.values():
        log.warning("%s%s", first, f" ({len(others)} more are like this)" if others else "")
    if not errors:
        return scored
    count = f"{len(errors)} of {len(scored.scans)} scans of cohort '{scored.cohort.name}'"
    lines = "\n".join(f"  {name}: {error}" for name, error in errors.items())
    if on_error == "stop":
        remedy = "repair them, leave them out with cohort.exclude=[...], or set on_error=skip"
        raise DataError(f"{count} cannot be scored:\n{lines}\n{remedy}")
    log.warning("%s are left out (on_error=skip)\n%s", count, lines)
    return replace(scored, scans=tuple(scan for scan in scored.scans if scan.id not in errors))
