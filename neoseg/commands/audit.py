"""Find annotation errors with networks that were not trained on the annotated scans."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pydantic import Field

from neoseg import __version__
from neoseg.audit.borders import displacement, exchanges
from neoseg.audit.evidence import Doubter, Evidence, spot
from neoseg.audit.measure import KINDS, Measure
from neoseg.audit.page import LISTING, Listed, write_listing
from neoseg.audit.ranking import FEWEST, SCORE, Finding, ranked
from neoseg.audit.structures import coarse, of_structure
from neoseg.audit.swaps import exchanged, swaps
from neoseg.cohort import Cohort, Plan, Scan
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.outputs import OutputFolder
from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.cohorts import Scored
from neoseg.evaluation.scoring import codebook_of, truth_of
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.inference.overlay import write_overlay
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import Codebook
from neoseg.progress import progress_bar
from neoseg.runs.folds import held_out
from neoseg.runs.loading import Moved, data_of, load_config, warn_of_unfinished
from neoseg.runs.people import as_trained
from neoseg.runs.unseen import Ids, member_of, seen_in_training
from neoseg.store import Geometry, read_volume
from neoseg.store.leaks import require_none
from neoseg.training.recipe import RecipeSettings
from neoseg.trust.folder import read_kept

log = logging.getLogger(__name__)

PICTURES = "pictures"
MEASURES = "measures"
"""Folder of the measurements, one file per scan, from which an interrupted audit resumes."""


class AuditConfig(CommandConfig):
    """Schema of `conf/audit.yaml`."""

    run: Path
    root: Moved | None = None
    output: OutputFolder | None = None
    score: float = Field(default=SCORE, gt=0)
    most: int = Field(default=60, ge=0)
    device: str = "auto"
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A labelled scan, and the folder of a network that was trained without its subject."""

    scan: Scan
    cohort: Cohort
    codebook: Codebook
    network: Path

    @property
    def name(self) -> str:
        """Name of the scan, unique among all cohorts."""
        return f"{self.scan.cohort}/{self.scan.id}"

    def made_of(self) -> str:
        """Return the cache key of the measurements: a digest of everything that they depend on."""
        files = (*self.scan.images, self.scan.label, self.scan.mask)
        label_sets = [sorted(s) for s in self.scan.sets(self.cohort.convention)]
        extra = [__version__, str(self.scan.described)]
        weights = digest_of(predicting_checkpoint(self.network))
        return digest_of_content(
            [[digest_of(p) for p in files if p is not None], label_sets, weights, extra]
        )


def main(config: DictConfig) -> None:
    """Measure every scan; list and draw the annotations that differ from the others."""
    command = AuditConfig.parse(config)
    warn_of_unfinished([command.run])
    output = command.output or command.run / "audit"
    tasks = _tasks(command)
    measures: dict[str, list[Measure]] = {}
    geometries: dict[str, Geometry] = {}
    # One network in memory at a time.
    load = lru_cache(1)(partial(Segmenter.load, device=command.device, allow=command.allow))
    with progress_bar("audit", total=len(tasks)) as bar:
        for task in tasks.values():
            measures[task.name], geometries[task.name] = _cached_measures(task, load, output)
            bar.advance(task.scan.id)
    findings = ranked(measures, command.score)
    with progress_bar("draw", total=min(len(findings), command.most)) as bar:
        pictures = _draw_findings(findings[: command.most], tasks, load, output, bar.advance)
    entries = [
        Listed(finding, tasks[finding.scan].scan, *spot(finding.measure.place, grid), picture)
        for finding, picture in zip_longest(findings, pictures)
        for grid in [geometries[finding.scan]]
    ]
    write_listing(output, command.run.resolve().name, entries, len(tasks))
    for name, kind in KINDS.items():
        count = sum(finding.measure.kind == name for finding in findings)
        if count:
            log.info("%s: %d", kind.title, count)
    log.info("%d findings of %d scans: %s", len(findings), len(tasks), output / "index.html")


def _tasks(command: AuditConfig) -> dict[str, Task]:
    """Return the labelled scans with a network that has not seen them; raises `ConfigError`."""
    content = load_config(command.run)
    data = data_of(command.run, command.allow, command.root)
    recipe = RecipeSettings.read(content["recipe"], "recipe")
    plan = as_trained(data.plan(), command.run)
    tasks = dict[str, Task]()
    for network, parts in _unseen(command.run, recipe, plan):
        for part in parts:
            labelled = [scan for scan in part.scans if scan.label is not None]
            codebook = codebook_of(part.cohort.scans, part.cohort.convention)
            for scan in labelled:
                task = Task(scan, part.cohort, codebook, network)
                tasks[task.name] = task
    tasks = _untrained(command.run, content.get("leaks"), tasks)
    if not tasks:
        raise ConfigError(
            f"{command.run} has no labelled scan that one of its networks has not seen; train with "
            "recipe=folds"
        )
    if recipe.kind != "folds":
        log.warning(
            "the run is none of recipe=folds: only the %d labelled scans of validation and test "
            "are judged, by one network",
            len(tasks),
        )
    if len(tasks) < FEWEST:
        log.warning("%d scans are too few to know what is usual: values count as such", len(tasks))
    return tasks


def _unseen(run: Path, recipe: RecipeSettings, plan: Plan) -> Iterator[tuple[Path, list[Scored]]]:
    """Yield the folder of each network with the scans that it was not trained on."""
    for stage, parts in held_out(recipe, plan):
        yield stage.folder(run), parts
    others = ("val", "test")
    for source in plan.sources:
        pairs = chain.from_iterable(map(source.of_split, others))
        yield run, [Scored(source.cohort, tuple(scan for scan, _ in pairs))]


def _untrained(run: Path, leaks: str | None, tasks: Mapping[str, Task]) -> dict[str, Task]:
    """Leave out the scans that the run's own network judges and has learnt from, by id or image."""
    members = [member_of(t.scan, "the audit") for t in tasks.values() if t.network == run]
    ids: Ids = "cohort" if leaks == "namesakes" else "all"
    found = seen_in_training([run], members, ids, ["train"])
    require_none(found, "tell", "")
    people = {leak.other.person for leak in found}
    known = {str(member) for member in members if member.person in people}
    if known:
        log.warning("%d scans of people on whom it was trained are left out", len(known))
    return {name: task for name, task in tasks.items() if name not in known}


def evidence(task: Task, segmenter: Segmenter) -> tuple[Evidence, Geometry]:
    """Segment a scan, and return the prediction with its annotation."""
    convention, codebook = task.cohort.convention, task.codebook
    doubter = Doubter(codebook, lambda grid: truth_of(task.scan, convention, codebook, grid))
    result = segmenter.segment(task.scan.images, mask=task.scan.mask, watch=doubter)
    assert doubter.codes is not None
    grid = result.geometry
    maps = (doubter.codes, result.leaves, doubter.doubt)
    return Evidence(*maps, grid.canonical_spacing, grid.voxel_ml, codebook), grid


def measured(seen: Evidence) -> list[Measure]:
    """Return all measurements of a scan."""
    measures = [
        *swaps(seen),
        *exchanged(seen),
        *displacement(seen),
        *exchanges(seen),
        *coarse(seen),
    ]
    for leaf, part, corner in seen.structures():
        measures += [measure.moved(corner) for measure in of_structure(part, leaf)]
    return measures


def _cached_measures(
    task: Task, load: Callable[[Path], Segmenter], output: Path
) -> tuple[list[Measure], Geometry]:
    """Return the cached measurements of a scan, or measure it."""
    path, key = output / MEASURES / task.scan.cohort / f"{task.scan.id}.json", task.made_of()
    cached = read_kept(path, output, key, _from_plain)
    if cached is not None:
        return cached
    compared, geometry = evidence(task, load(task.network))
    measures = measured(compared)
    plain = [measure.plain() for measure in measures]
    content = {"made_of": key, "geometry": asdict(geometry), "measures": plain}
    write_json(path, content)
    return measures, geometry


def _from_plain(raw: Any) -> tuple[list[Measure], Geometry]:
    measures = [Measure.from_plain(measure) for measure in raw["measures"]]
    return measures, Geometry.from_dict(raw["geometry"])


def _draw_findings(
    findings: Sequence[Finding],
    tasks: Mapping[str, Task],
    load: Callable[[Path], Segmenter],
    output: Path,
    progress: Callable[[str], None],
) -> list[Path]:
    """Draw the findings grouped by scan, so that each scan is segmented once.

    Pictures of an earlier audit in the folder are deleted, of which there may have been more.
    """
    for old in (output / PICTURES).glob("*.png") if (output / LISTING).is_file() else ():
        if re.fullmatch(r"\d{3,}", old.stem):
            old.unlink()
    paths = [output / PICTURES / f"{number:03d}.png" for number in range(1, len(findings) + 1)]
    pairs = list(zip(findings, paths, strict=True))
    for name, task in tasks.items():  # in the order of the networks, to load each once
        of_scan = [(finding, path) for finding, path in pairs if finding.scan == name]
        if not of_scan:
            continue
        network = load(task.network)
        compared, _ = evidence(task, network)
        assert task.scan.images[0] is not None
        image = read_volume(task.scan.images[0]).data
        for finding, path in of_scan:
            title = f"{task.scan.id}   ·   {finding.measure.structure}"
            layers = (
                image,
                compared.leaves,
                compared.codes,
                compared.codebook,
                compared.spacing,
            )
            place, window = finding.measure.place, network.prepare.window
            write_overlay(path, *layers, scan=title, centre=place, window=window)
            progress(task.scan.id)
    return paths
