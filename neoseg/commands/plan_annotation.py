"""Plan which scans to annotate next and to which depth, by resolved doubt per minute."""

import html
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig
from pydantic import Field
from rich.console import Console

from neoseg.cohort.plan import Plan
from neoseg.cohort.table import write_rows
from neoseg.commands.annotation_curve import case_after, counts_of, learn, worth_of, write_curve
from neoseg.commands.annotation_pool import Candidate, of_files, of_run
from neoseg.commands.annotation_tables import write_tables
from neoseg.commands.predicting import FindingConfig
from neoseg.configuration.outputs import OutputFolder, can_be_written
from neoseg.digests import digest_of, digest_of_content
from neoseg.evaluation.report.sprites import data_uri
from neoseg.files import write_json, write_text
from neoseg.findings.settings import ConfigError
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.inputs import find_scans
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import Codebook, Protocol
from neoseg.progress import progress_bar
from neoseg.store import DataError
from neoseg.trust.annotation_plan import Choice, choose, reason
from neoseg.trust.depths import MinutesSettings, SliceSettings, actions_of, depths_of, minutes_of
from neoseg.trust.doubt import Doubt, DoubtWatch
from neoseg.trust.folder import place_of, read_kept

log = logging.getLogger(__name__)

COLUMNS = ("rank", "scan", "annotation", "minutes", "sum", "gain", "open", "reason")


class PlanAnnotationConfig(FindingConfig):
    """Schema of `conf/plan_annotation.yaml`."""

    budget: float = Field(gt=0)
    output: OutputFolder
    overwrite: bool = False
    pool: Path | None = None
    leaks: Literal["stop", "namesakes"] = "stop"
    minutes: MinutesSettings = MinutesSettings()
    slices: SliceSettings = SliceSettings()
    curve: Path | None = None


@dataclass(frozen=True)
class DoubtMeter:
    """Measure the doubt in scans; `folder` keeps what is measured for the next plan."""

    segmenter: Segmenter | Ensemble
    codebook: Codebook
    depths: Mapping[str, Protocol]
    folder: Path

    def measure(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Doubt]]:
        """Return each scan that can be segmented with its doubt, and warn of the others."""
        measured = []
        with progress_bar("doubt", total=len(candidates)) as bar:
            for scan in candidates:
                try:
                    measured.append((scan, self._doubt_in(scan)))
                except DataError as error:
                    log.warning("%s is left out of the plan: %s", scan.name, error)
                bar.advance(scan.name)
        return measured

    def _doubt_in(self, scan: Candidate) -> Doubt:
        """Return the doubt in a scan, from its file if that is of the same inputs."""
        key = self._key(scan)
        path = self.folder / f"{digest_of_content(scan.name)}.json"
        kept = read_kept(path, self.folder, key, lambda raw: Doubt.from_plain(raw["seen"]))
        if kept is not None:
            return kept
        watch = DoubtWatch(self.codebook, self.depths, scan.known)
        segmentation = self.segmenter.segment(scan.images, mask=scan.mask, watch=watch)
        doubt = watch.doubt(scan.name, segmentation)
        write_json(path, {"made_of": key, "seen": vars(doubt)})
        return doubt

    def _key(self, scan: Candidate) -> str:
        """Return the digest of all that the doubt in a scan depends on, besides the networks."""
        sets = [sorted(map(sorted, p.sets)) for p in (scan.protocol, *self.depths.values())]
        slices = [str(scan.protocol.slices), sorted(self.depths)]
        files = [digest_of(path) for path in scan.files]
        return digest_of_content([files, scan.meaning, *sets, slices])


def main(config: DictConfig) -> None:
    """Measure the doubt in each scan of the pool unless it is cached, and write a plan."""
    command = PlanAnnotationConfig.parse(config)
    edited = sorted(command.output.glob("annotation*.tsv"))
    if edited and not command.overwrite:
        raise ConfigError(
            f"{edited[0]} is there already, and may have been edited; name another folder as "
            "output, or set overwrite=true"
        )
    fitted = None if command.curve is None else learn(command.curve)
    segmenter, modalities = command.load()
    space = segmenter.head.space
    plan, codebook = None, Codebook.build(space)
    if command.pool is None:
        plan = command.plan(modalities)
        codebook, candidates = plan.codebook, of_run(plan)
    else:
        naming = command.naming(modalities)
        scans = find_scans(command.pool, modalities, command.desc, naming)
        candidates = of_files(command.run, command.pool, scans, space, command.leaks)
    if not candidates:
        found = (
            "every training scan of the run is annotated in full"
            if command.pool is None
            else f"no scan in {command.pool} is left that could be planned"
        )
        raise ConfigError(f"{found}; name others with pool=DIR")
    depths = depths_of(plan, space)
    minutes = minutes_of(command.minutes, depths)
    measured = DoubtMeter(segmenter, codebook, depths, _place_of_doubts(command)).measure(
        candidates
    )
    if not measured:
        raise ConfigError("no scan of the pool can be segmented; what is wrong with each is above")
    worth = {} if fitted is None else worth_of(*fitted)
    slices = (command.minutes.slice, command.slices)
    actions = [
        actions_of(scan.protocol, doubt, depths, minutes, *slices, worth)
        for scan, doubt in measured
    ]
    pool, doubts = [scan for scan, _ in measured], [doubt for _, doubt in measured]
    choices = choose(doubts, actions, command.budget)
    if not choices:
        raise ConfigError(
            f"nothing that settles any doubt costs at most {command.budget:g} minutes; raise "
            "budget, or correct minutes"
        )
    outlook = []
    if fitted is not None:
        now = counts_of(command.run[0])
        moves = [(pool[c.scan].protocol.name, c.action.name) for c in choices]
        outlook = write_curve(*fitted, command.output, now, case_after(now, moves), len(pool))
    _write(command, choices, doubts, pool, plan, minutes, outlook)


def _place_of_doubts(command: PlanAnnotationConfig) -> Path:
    """Return where doubts are kept: in the first run, or in the plan if the run is somebody's."""
    origin = command.origin()
    folder, own = (place_of(place, origin) / "doubt" for place in (command.run[0], command.output))
    return folder if can_be_written(folder) else own


def _write(
    command: PlanAnnotationConfig,
    choices: Sequence[Choice],
    doubts: Sequence[Doubt],
    pool: Sequence[Candidate],
    plan: Plan | None,
    minutes: Mapping[str, float],
    outlook: Sequence[str],
) -> None:
    rows, total = [], 0.0
    for rank, choice in enumerate(choices, start=1):
        total += choice.action.minutes
        doubt = doubts[choice.scan]
        numbers = (f"{x:.4g}" for x in (choice.action.minutes, total, choice.gain, choice.open_))
        why = reason(choice, doubt, minutes, len(pool))
        rows.append([str(rank), doubt.scan, choice.action.name, *numbers, why])
    output = command.output
    write_rows(output / "plan.tsv", COLUMNS, rows)
    instruction = write_tables(output, command.run[0], plan, pool, doubts, choices, command.slices)
    write_text(output / "plan.html", _page(rows, instruction, command, outlook))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{total:g} of {command.budget:g} minutes:")
    for position, scan, annotation, cost, sum_, _, _, why in rows:
        console.print(f"{position}. {scan}: {annotation}, {cost} minutes ({sum_} in all); {why}")
    for line in outlook:
        console.print(line)
    log.info("the plan is in %s; once it is annotated, go on with\n  %s", output, instruction)


def _page(
    rows: Sequence[Sequence[str]],
    instruction: str,
    command: PlanAnnotationConfig,
    outlook: Sequence[str],
) -> str:
    """Return the plan as an HTML page."""
    minutes, chart = command.minutes, ""
    if outlook:
        image = data_uri((command.output / "curve.png").read_bytes())
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in outlook)
        chart = f"""<h2>What it should bring</h2><img src="{image}" alt="Dice against labels"
style="max-width:100%"><ul>{lines}</ul>"""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    costs = html.escape(f"{minutes.full:g} in full, {minutes.slice:g} a slice")
    return f"""<!doctype html><meta charset="utf-8"><title>What to annotate next</title>
<style>body{{font:15px sans-serif;margin:2em}}td,th{{padding:.3em .8em;text-align:left;
border-bottom:1px solid #ccc}}</style>
<h1>What to annotate next</h1>
<p>Minutes: {costs}. gain, open: doubt in bits a voxel, the mean over structures, over the pool
and in the scan itself.</p>
<table><tr>{head}</tr>
{body}
</table>
{chart}
<p>Then: <code>{html.escape(instruction)}</code></p>
"""
