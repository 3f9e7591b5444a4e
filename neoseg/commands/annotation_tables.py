"""Write the tables and configurations with which a training uses an annotation plan."""

import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from neoseg.cohort.annotation import FULL, UNLABELLED
from neoseg.cohort.plan import Plan, Source
from neoseg.cohort.table import write_rows
from neoseg.commands.annotation_pool import Candidate
from neoseg.configuration.composed import composed
from neoseg.files import write_text
from neoseg.findings.command_line import literal, quoted
from neoseg.labels import Convention
from neoseg.labels.convention import unnamed
from neoseg.labels.protocol import PLANE_AXIS
from neoseg.runs.loading import load_config
from neoseg.runs.start_command import arguments_of
from neoseg.trust.annotation_plan import Choice
from neoseg.trust.depths import SliceSettings
from neoseg.trust.doubt import Doubt

log = logging.getLogger(__name__)

PLANNED = Path("annotation", "planned.yaml")
"""File of a plan's folder: the `annotation` section of the first cohort after the plan."""

DRAWN = "drawn_in_full"
"""Protocol of scans to be drawn in full, in a cohort whose integers do not tell all structures."""

COLUMNS = ("subject", "session", "annotation")


def write_tables(
    output: Path,
    run: Path,
    plan: Plan | None,
    pool: Sequence[Candidate],
    doubts: Sequence[Doubt],
    choices: Sequence[Choice],
    slices: SliceSettings,
) -> str:
    """Write how each scan is annotated after the plan; return the instruction to continue with it.

    Args:
        output: folder of the plan.
        run: run folder, whose configuration defines the protocols.
        plan: annotation plan of the run's cohorts; None if the pool has other scans.
        pool: candidate scans.
        doubts: doubt in each of them.
        choices: the chosen scans and depths.
        slices: settings of annotations in single slices.
    """
    chosen: dict[str, dict[tuple[str, str | None], str]] = {}
    for choice in choices:
        scan = pool[choice.scan]
        chosen.setdefault(scan.cohort, {})[scan.subject, scan.session] = choice.action.name
    if plan is None:
        _write_table(output / "annotation.tsv", chosen[""])
        return "add the lines of annotation.tsv to your own table (annotation.file)"
    extent = np.mean([doubts[choice.scan].extent for choice in choices], axis=0)
    config = load_config(run)
    defined, instruction = _protocol_definitions(config), _started(run, output)
    trained = composed("train", shlex.split(instruction)[3:])
    selected = {} if trained is None else trained.hydra.runtime.choices
    for index, source in enumerate(plan.sources):
        name = source.cohort.name
        open_ = unnamed(plan.space, source.cohort.convention.sets)
        added = chosen.get(name, {})
        if open_:  # the integers of the cohort cannot tell what is to be drawn
            added = {scan: DRAWN if p == FULL else p for scan, p in added.items()}
        protocols = _current_protocols(source) | added
        suffix = f"_{name}" if index else ""
        table = output / f"annotation{suffix}.tsv"
        _write_table(table, protocols)
        members = [scan for scan in pool if scan.cohort == name]
        used = set(protocols.values()) - {FULL, UNLABELLED}
        rows = {protocol: row for protocol, row in defined.items() if protocol in used}
        if slices.name in used:
            rows[slices.name] = _slice_protocol(slices, members, extent)
        if open_:
            rows = {p: _with_meaning(row, source.cohort.convention) for p, row in rows.items()}
        if DRAWN in used:
            rows[DRAWN] = _with_meaning({"describes": True}, Convention.identity(plan.space))
            log.info(
                "cohort '%s' has no integer for %s: draw with the integers of the label table, "
                "which the protocol %s of %s gives to these scans",
                *(name, plan.space.plain_name(open_), DRAWN, PLANNED.with_stem(f"planned{suffix}")),
            )
        content: dict[str, Any] = {"defaults": ["table", "_self_"], "protocols": rows or None}
        section = config if index == 0 else config["extra_cohorts"][name]
        settings = section.get("annotation") or {}
        content |= {key: settings[key] for key in ("draw", "validation") if key in settings}
        content["file"] = str(table.resolve())
        text = yaml.safe_dump(literal(content), sort_keys=False)
        write_text((output / PLANNED).with_stem(f"planned{suffix}"), text)
        key = f"annotation@extra_cohorts.{name}.annotation" if index else "annotation"
        instruction += f" {'' if index == 0 or key in selected else '+'}{key}=planned{suffix}"
    return instruction


def _started(run: Path, output: Path) -> str:
    """Return the training command of a run with `output` as configuration folder.

    Overrides of annotations are removed. Hydra accepts a single `--config-dir`: if the run has one,
    `output` is added to the search path instead. The folder of an earlier plan is removed.
    """
    arguments = arguments_of(run)
    if arguments is None:
        log.warning(
            "%s does not tell the command that it was started with, so what follows trains with "
            "the defaults of neoseg: add the settings of the run (experiment, cohort, ...)",
            run,
        )
        arguments = []
    config_dir, kept = list[str](), list[str]()
    for word in arguments:
        if word == "--config-dir" or (config_dir and config_dir[-1] == "--config-dir"):
            config_dir.append(word)
        elif not re.match(r"[+~]*(annotation\b|hydra\.|extra_cohorts\.[^.=]+\.annotation\b)", word):
            kept.append(shlex.quote(word))
    if config_dir and (Path(config_dir[-1]) / PLANNED).is_file():
        config_dir = []
    planned = f"hydra.searchpath=[{quoted(f'file://{output.resolve()}')}]"
    options = (
        [*config_dir, shlex.quote(planned)]
        if config_dir
        else [f"--config-dir={shlex.quote(str(output))}"]
    )
    return " ".join(["python -m neoseg.train", *options, *kept])


def _current_protocols(source: Source) -> dict[tuple[str, str | None], str]:
    """Return the current protocol of each scan of a cohort in the run."""
    assigned = {(item.subject, item.session): item.protocol for item in source.assignments}
    scans = [(scan.subject, scan.session) for scan in source.cohort.scans]
    return {scan: assigned.get(scan, UNLABELLED) for scan in scans}


def _write_table(path: Path, protocols: Mapping[tuple[str, str | None], str]) -> None:
    write_rows(
        path,
        COLUMNS,
        [(subject, ses or "", protocol) for (subject, ses), protocol in protocols.items()],
    )


def _protocol_definitions(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the definitions of the protocols of all cohorts of a run by name."""
    definitions = {}
    for cohort in (config, *(config.get("extra_cohorts") or {}).values()):
        settings = cohort.get("annotation") or {}
        rows = {
            name: {**row, "name": name} for name, row in (settings.get("protocols") or {}).items()
        }
        for row in (settings.get("protocol") or {"name": FULL}, *rows.values()):
            definition = {key: value for key, value in row.items() if value and key != "name"}
            definitions[row["name"]] = definition
    return definitions


def _with_meaning(row: dict[str, Any], convention: Convention) -> dict[str, Any]:
    """Return the definition of a protocol with what integers mean in the files it describes."""
    if not row.get("describes") or row.get("convention"):
        return row
    return {**row, "convention": yaml.safe_load(convention.written())}


def _slice_protocol(
    slices: SliceSettings, pool: Sequence[Candidate], extent: np.ndarray
) -> dict[str, Any]:
    """Return the definition of a protocol of slices: simulated, or a description of label files."""
    if any(scan.known is not None and not scan.protocol.describes for scan in pool):
        share = min(1.0, slices.count / float(extent[PLANE_AXIS[slices.plane]]))
        return {"slices": {"plane": slices.plane, "share": round(share, 4)}}
    return {"describes": True, "slices": {"plane": slices.plane}}  # any slices
