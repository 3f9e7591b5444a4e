"""Segment new scans with trained runs."""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field, field_validator

from neoseg.commands.predicting import FindingConfig
from neoseg.commands.prediction_job import PredictionJob
from neoseg.configuration.command_config import SEVERAL
from neoseg.configuration.outputs import OutputFolder
from neoseg.errors import NeosegError
from neoseg.findings.faults import fault_message, is_full, note_traceback
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.inference.dataset import (
    DESC,
    Provenance,
    describe,
    files_in,
    is_described,
    other_makers,
    tables_locked,
)
from neoseg.inference.derivative import count_again, plan_derivatives
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.image_names import ScanFiles
from neoseg.inference.inputs import find_scans
from neoseg.inference.origin import is_counted, note_counted, note_of, run_of, sidecar_of
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.written import ending, write_table
from neoseg.progress import progress_bar
from neoseg.trust.folder import limits_of, load
from neoseg.trust.promises import Promises

log = logging.getLogger(__name__)


class PredictConfig(FindingConfig):
    """Schema of `conf/predict.yaml`."""

    input: Path
    output: OutputFolder
    probseg: Annotated[tuple[str, ...], SEVERAL] = ()
    sets: float | None = Field(default=None, gt=0, lt=1)
    sets_for: Literal["scan", "structure"] = "scan"
    trust: float | None = Field(default=None, gt=0, lt=1)
    overwrite: bool = False
    picture: bool = True
    tables: Annotated[
        tuple[Literal["freesurfer", "itksnap", "slicer", "mrtrix"], ...], SEVERAL
    ] = ()

    @field_validator("input", mode="before")
    @classmethod
    def _check_input(cls, value: Any) -> Any:
        if isinstance(value, list):
            raise ConfigError("input is a list; name one file, or a folder that holds them all")
        return value


def main(config: DictConfig) -> None:
    """Segment every scan without a segmentation, and list failures at the end."""
    command = PredictConfig.parse(config)
    runs, output = command.run, command.output
    segmenter, modalities = command.load()
    made_by = command.made_by
    classes = _classes(segmenter.head.space, command.probseg)
    provenance = Provenance.of(made_by)
    origin = command.origin()
    promises = None
    if command.sets is not None or command.trust is not None:
        calibration = load(runs, origin, segmenter.head.space)
        limits = limits_of(calibration, command.sets, command.sets_for) if command.sets else None
        promises = Promises(calibration, limits, command.trust)
    extras = (command.picture, origin, promises)
    job = PredictionJob(segmenter, output, provenance, classes, *extras)
    scans = find_scans(command.input, modalities, command.desc, command.naming(modalities))
    for number, modality in enumerate(modalities):
        missing = [scan.source.name for scan in scans if scan.images[number] is None]
        if missing:
            told = (len(missing), len(scans), modality, shorten(missing))
            log.warning("%d of %d scans have no %s: %s", *told)
    if _drops_incomplete(segmenter):
        scans = [scan for scan in scans if None not in scan.images]
        log.info("%d scans are left, since the training left out such scans too", len(scans))
    targets = plan_derivatives(output, [scan.source for scan in scans])
    for kind in command.tables:
        space, name = segmenter.head.space, f"desc-{DESC}_{kind}{ending(kind)}"
        background = space.leaves[space.background].index
        table = LabelTable(name=space.name, background=background, leaves=space.leaves)
        write_table(output / name, table, kind)
    notes = {scan: note_of(targets[scan.source]) for scan in scans}
    remaining = scans if command.overwrite else _remaining(job, scans, targets)
    failures = []
    with progress_bar("segment", total=len(remaining)) as bar:
        for scan in remaining:
            try:
                job.run(scan, notes[scan])
            except NeosegError as error:
                prefix = "" if str(error).startswith(str(scan.source)) else f"{scan.source}: "
                failures.append(f"  {prefix}{error}")
            except Exception as error:  # one bad scan must not stop the others
                if is_full(error):
                    raise  # all others would fail, too
                note_traceback(log, error)
                message = fault_message(error) or f"{type(error).__name__}: {error}"
                failures.append(f"  {scan.source}: {message}")
            bar.advance(scan.source.name)
    log.info("%d scans segmented into %s", len(remaining) - len(failures), output)
    if failures:
        text = "\n".join(failures).encode(errors="backslashreplace").decode()
        log.error("%d scans failed:\n%s", len(failures), text)
        sys.exit(1)


def _remaining(
    job: PredictionJob, scans: Sequence[ScanFiles], targets: Mapping[Path, Path]
) -> list[ScanFiles]:
    """Return the scans that are still to be segmented, and report those that are not.

    Raises:
        ConfigError: segmentations of other runs in the output folder.
    """
    states = {scan: job.look(scan, targets[scan.source]) for scan in scans}
    if clashing := [scan.source for scan, state in states.items() if state == "other scan"]:
        raise ConfigError(
            f"{targets[clashing[0]]} is the segmentation of another file called "
            f"{clashing[0].name} ({len(clashing)} scans are like this), which would be lost; "
            "choose another output folder, or set overwrite=true"
        )
    remaining = [scan for scan, state in states.items() if state in ("absent", "changed")]
    counts = Counter(states.values())
    if len(remaining) < len(scans):
        has_own, other_runs = other_makers(job.output, job.provenance)
        theirs = {run_of(targets[s.source]) for s, state in states.items() if state == "other run"}
        which = "; ".join(other_runs or [f"{name}, of another folder" for name in sorted(theirs)])
        message = f"{job.output} holds segmentations of other runs: {which}"
        if counts["other run"] or not has_own:
            raise ConfigError(f"{message}; choose another output folder, or set overwrite=true")
        if other_runs:
            log.warning("%s. Those of scans that are there already are kept as they are", message)
        log.info("%d of %d scans are segmented already", len(scans) - len(remaining), len(scans))
        if not is_described(job.output):  # files were lost
            with tables_locked(job.output):
                describe(job.output, job.space, job.provenance)
    if counts["changed"]:
        log.warning(
            "%d scans are segmented again: their files, the weights or the settings have changed",
            counts["changed"],
        )
    if counts["untold"]:
        log.warning(
            "%d segmentations are kept although their origin is unknown (they were edited, or made "
            "by an earlier version), and nothing is written beside them; overwrite=true replaces "
            "them",
            counts["untold"],
        )
    listed = files_in(job.output, "volumes")
    for target in (targets[s.source] for s, state in states.items() if state in ("same", "untold")):
        if not is_counted(target):
            _recount(job, target, "it was edited")
        elif target.relative_to(job.output).as_posix() not in listed:
            _recount(job, target, "their table lacked it")
    return remaining


def _recount(job: PredictionJob, target: Path, why: str) -> None:
    try:
        count_again(job.output, target, job.space)
        if sidecar_of(target).is_file():
            note_counted(target)
        log.info("the volumes of %s were counted again, since %s", target, why)
    except (NeosegError, OSError) as error:
        log.warning("the volumes of %s are not those of the file: %s", target, error)


def _drops_incomplete(segmenter: Segmenter | Ensemble) -> bool:
    """Return whether any network was trained without scans that lack a modality."""
    members = segmenter.members.values() if isinstance(segmenter, Ensemble) else [segmenter]
    return any(m.missing is not None and m.missing.policy == "drop" for m in members)


def _classes(space: LabelSpace, names: Sequence[str]) -> list[int]:
    """Return the positions of the named classes, or of all for "all"; raises `LabelError`."""
    if list(names) == ["all"]:
        return list(range(space.num_classes))
    return [space.class_position(name) for name in names]
