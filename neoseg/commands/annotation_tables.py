"""The tables and configurations by which a training follows a plan of annotation."""

from __future__ import annotations

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
from neoseg.files import write_text
from neoseg.findings.command_line import quoted
from neoseg.foreign import read_json
from neoseg.labels.protocol import PLANE_AXIS
from neoseg.runs.folder import RECORD
from neoseg.runs.loading import load_config
from neoseg.trust.annotation_plan import Choice
from neoseg.trust.depths import SliceSettings
from neoseg.trust.doubt import Doubt

PLANNED = Path("annotation", "planned.yaml")
"""In the folder of a plan: how the first cohort is annotated after it."""

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
    """Write who is annotated how after the plan; return how to go on with it.

    Args:
        output: the plan's folder.
        run: whose configuration names the protocols.
        plan: of the run's own cohorts; None: the pool is of other scans.
        pool, doubts: the scans that could be annotated.
        choices: those that will be.
        slices: which ones, where some are.
    """
    chosen: dict[str, dict[tuple[str, str | None], str]] = {}
    for choice in choices:
        one = pool[choice.scan]
        chosen.setdefault(one.cohort, {})[one.subject, one.session] = choice.action.name
    if plan is None:
        _write_table(output / "annotation.tsv", chosen[""])
        return "add the lines of annotation.tsv to your own table (annotation.file)"
    extent = np.mean([doubts[choice.scan].extent for choice in choices], axis=0)
    config = load_config(run)
    defined, following = _defined(config), _started(run, output)
    for number, source in enumerate(plan.sources):
        name = source.cohort.name
        lines = _now(source) | chosen.get(name, {})
        suffix = f"_{name}" if number else ""
        table = output / f"annotation{suffix}.tsv"
        _write_table(table, lines)
        own = [one for one in pool if one.cohort == name]
        used = set(lines.values()) - {FULL, UNLABELLED}
        raw = {how: row for how, row in defined.items() if how in used}
        if slices.name in used:
            raw[slices.name] = _slices(slices, own, extent)
        content: dict[str, Any] = {"defaults": ["table", "_self_"], "protocols": raw or None}
        before = config if number == 0 else config["extra_cohorts"][name]
        told = before.get("annotation") or {}
        content |= {key: told[key] for key in ("draw", "validation") if key in told}
        content["file"] = str(table.resolve())
        text = yaml.safe_dump(content, sort_keys=False)
        write_text((output / PLANNED).with_stem(f"planned{suffix}"), text)
        key = f"+annotation@extra_cohorts.{name}.annotation" if number else "annotation"
        following += f" {key}=planned{suffix}"
    return following


def _started(run: Path, output: Path) -> str:
    """Return the command of a run without what it says of annotations, `output` among its configs.

    Hydra takes one `--config-dir`; where the run had one, the other is on its search path. That of
    an earlier plan, which the run has followed, is left out.
    """
    try:
        words = shlex.split(str(read_json(run / RECORD, within=run)["command"]))
        given = words[words.index("neoseg.train") + 1 :]
    except (ValueError, KeyError, TypeError, OSError):
        given = []  # of a run that has not ended
    if any(word.startswith("resume=") for word in given):
        given = []  # how it was begun is not in its record any more
    own, kept = list[str](), list[str]()
    for word in given:
        if word == "--config-dir" or (own and own[-1] == "--config-dir"):
            own.append(word)
        elif not re.match(r"[+~]*(annotation\b|hydra\.|extra_cohorts\.[^.=]+\.annotation\b)", word):
            kept.append(shlex.quote(word))
    if own and (Path(own[-1]) / PLANNED).is_file():
        own = []
    planned = f"hydra.searchpath=[{quoted(f'file://{output.resolve()}')}]"
    place = [*own, shlex.quote(planned)] if own else [f"--config-dir={shlex.quote(str(output))}"]
    return " ".join(["python -m neoseg.train", *place, *kept])


def _now(source: Source) -> dict[tuple[str, str | None], str]:
    """Return how each scan of a cohort is annotated in the run."""
    known = {(item.subject, item.session): item.protocol for item in source.assignments}
    there = [(scan.subject, scan.session) for scan in source.cohort.scans]
    return {scan: known.get(scan, UNLABELLED) for scan in there}


def _write_table(path: Path, lines: Mapping[tuple[str, str | None], str]) -> None:
    write_rows(path, COLUMNS, [(subject, ses or "", how) for (subject, ses), how in lines.items()])


def _defined(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of `annotation.protocols` that a run's cohorts know, by name."""
    found = {}
    for cohort in (config, *(config.get("extra_cohorts") or {}).values()):
        told = cohort.get("annotation") or {}
        rows = {name: {**row, "name": name} for name, row in (told.get("protocols") or {}).items()}
        for row in (told.get("protocol") or {"name": FULL}, *rows.values()):
            own = {key: value for key, value in row.items() if value and key != "name"}
            found[row["name"]] = own
    return found


def _slices(slices: SliceSettings, pool: Sequence[Candidate], extent: np.ndarray) -> dict[str, Any]:
    """Return the protocol by which a simulation hides the other slices, or that tells of files."""
    if any(one.known is not None and not one.protocol.describes for one in pool):
        share = min(1.0, slices.count / float(extent[PLANE_AXIS[slices.plane]]))
        return {"slices": {"plane": slices.plane, "share": round(share, 4)}}
    return {"describes": True, "slices": {"plane": slices.plane}}  # on whatever slices
