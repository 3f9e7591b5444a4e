"""Make one label file a scan of masks of one structure each, and a table to train by."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import BeforeValidator

from neoseg.capacity import Processes, count_processes
from neoseg.cohort import Cohort
from neoseg.cohort.masks import find_masks, structures_of
from neoseg.cohort.meaning import UNKNOWN
from neoseg.cohort.patterns import fits
from neoseg.cohort.scan_table import SEPARATOR
from neoseg.cohort.table import write_rows
from neoseg.configuration.command_config import Earlier, checked
from neoseg.configuration.data import FilesConfig
from neoseg.configuration.outputs import OutputFolder
from neoseg.digests import digest_of, digest_of_content
from neoseg.files import write_json
from neoseg.findings.command_line import command as line_of
from neoseg.findings.command_line import override, own_configs
from neoseg.findings.problems import OnError, Problems, shorten
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelSet, LabelSpace
from neoseg.labels.masks import integers_of
from neoseg.processes import work_through
from neoseg.progress import progress_bar
from neoseg.store.masks import CombinedScan, MaskedScan, write_combined
from neoseg.trust.folder import read_kept

log = logging.getLogger(__name__)

TABLE, NAMES = "scans.csv", "dseg.tsv"
"""Files of the output: a row a scan, and the names of the integers."""

LABELS, MADE = "labels", "made"
"""Folders of the label files, and of what each was made of."""

PARTS = ("subject", "session", "structure")
"""What a pattern of masks may have in braces."""

Structures = dict[str, int | str | list[int | str] | None]


def _with_text_keys(structures: Any) -> Any:
    is_mapping = isinstance(structures, dict)
    return {str(k): v for k, v in structures.items()} if is_mapping else structures


def _check_pattern(masks: str, earlier: Earlier) -> None:
    if not fits(masks, ("subject", "structure"), PARTS):
        raise ConfigError(
            f"masks is {masks!r}, expected a path below cohort.root with {{subject}}, "
            "{structure} and, if masks have it, {session}: {subject}/segmentations/{structure}"
        )


class CombineMasksConfig(FilesConfig):
    """Schema of `conf/combine_masks.yaml`."""

    masks: Annotated[str, checked(_check_pattern)]
    structures: Annotated[Structures | None, BeforeValidator(_with_text_keys)] = None
    output: OutputFolder
    processes: Processes | None = None
    on_error: Literal["stop", "skip"] = "stop"


def main(config: DictConfig) -> None:
    """Combine what is not combined yet, write the tables, and log what the masks do not tell."""
    command = CombineMasksConfig.parse(config)
    space, output = command.space, command.output.expanduser()
    cohort = command.cohort.read_cohort(space, "collect")
    problems = Problems(
        [problem for problem in cohort.problems if problem.severity == "error"],
        [p for p in cohort.problems if p.severity == "warning" and p.kind != "no-labels"],
    )
    found = find_masks(cohort.scans, _root(command), command.masks, problems)
    words = {word for masks in found.values() for word in masks}
    known = structures_of(space, words, command.structures or {}, problems)
    _settle(problems, f"cohort '{cohort.name}'", command.on_error)
    skipped = problems.skipped(command.on_error)
    scans = [
        MaskedScan(scan.id, shown, space, output / LABELS / f"{scan.id}_{Path(NAMES).stem}.nii.gz")
        for scan in cohort.scans
        if scan.id not in skipped and (shown := _shown(found.get(scan.id, {}), known))
    ]
    if not scans:
        raise ConfigError(f"no mask shows a structure of label table '{space.name}'")
    combined = _combine_all(scans, output / MADE, command.processes)
    problems = Problems([problem for result in combined.values() for problem in result.problems])
    _settle(problems, "masks", command.on_error)
    skipped |= {name for name, result in combined.items() if result.problems}
    used = [scan for scan in cohort.scans if scan.id not in skipped]
    combined = {name: result for name, result in combined.items() if name not in skipped}
    labels = {scan.id: scan.target for scan in scans if scan.id in combined}
    drawn = [leaves for scan in scans if scan.id in combined for _, leaves in scan.masks]
    _write_names(output / LABELS / NAMES, space, drawn, combined)
    _write_table(output / TABLE, replace(cohort, scans=tuple(used)), labels, combined)
    _tell(space, len(used), combined)
    modalities = override("cohort.modalities", f"[{','.join(cohort.modalities)}]")
    keys = ["cohort=table", override("cohort.root", output / TABLE), modalities]
    log.info("next: %s", line_of("prepare", *_table_of_labels(), *keys))


def _settle(problems: Problems, subject: str, on_error: OnError) -> None:
    """Raise `CohortError` for errors, or log which scans are left out for them."""
    for problem in problems.settle(subject, on_error):
        if problem.severity == "error":
            log.warning("%s left out: %s", ", ".join(problem.scans), problem)


def _table_of_labels() -> list[str]:
    """Return the options that choose the label table, for a shell."""
    if not HydraConfig.initialized():
        return []
    return [*own_configs(), override("labels", HydraConfig.get().runtime.choices["labels"])]


def _root(command: CombineMasksConfig) -> Path:
    """Return the folder where the pattern of the masks starts: that of the cohort."""
    root = command.cohort.options.get("root")
    if not isinstance(root, str):
        raise ConfigError("the cohort has no cohort.root, where the pattern of the masks starts")
    path = Path(root).expanduser()
    return path.parent if path.is_file() else path


def _shown(
    masks: Mapping[str, Path], known: Mapping[str, LabelSet]
) -> tuple[tuple[Path, LabelSet], ...]:
    return tuple((path, known[word]) for word, path in sorted(masks.items()) if word in known)


def _combine_all(
    scans: Sequence[MaskedScan], folder: Path, processes: int | None
) -> dict[str, CombinedScan]:
    """Return what the label file of each scan holds, after writing those that are not there yet.

    `folder` keeps what was made of what, by scan.
    """
    space = scans[0].space
    table = [[leaf.index, leaf.abbreviation] for leaf in space.leaves]
    done, made_of = dict[str, CombinedScan](), dict[str, str]()
    with progress_bar("look", total=len(scans)) as bar:
        for scan in scans:
            masks = [[path.name, digest_of(path), sorted(leaves)] for path, leaves in scan.masks]
            key = made_of[scan.id] = digest_of_content([table, space.class_leaves.tolist(), masks])
            kept = read_kept(_record(folder, scan), folder, key, _from_plain)
            if kept and scan.target.is_file() and kept[0] == digest_of(scan.target):
                done[scan.id] = kept[1]
            bar.advance(scan.id)
    if done:
        log.info("%d of %d label files are there already", len(done), len(scans))
    rest = [scan for scan in scans if scan.id not in done]
    sizes = [sum(path.stat().st_size for path, _ in scan.masks) for scan in rest]
    with progress_bar("combine", total=len(rest)) as bar:
        for number, result in work_through(
            write_combined, rest, count_processes(processes, sizes), "processes"
        ):
            scan = rest[number]
            done[scan.id] = result
            if not result.problems:
                content = {"made_of": made_of[scan.id], "file": digest_of(scan.target)}
                write_json(_record(folder, scan), content | {"holds": result.plain()})
            bar.advance(scan.id)
    return {scan.id: done[scan.id] for scan in scans}


def _record(folder: Path, scan: MaskedScan) -> Path:
    return folder / f"{scan.id}.json"


def _from_plain(raw: Any) -> tuple[str, CombinedScan]:
    return str(raw["file"]), CombinedScan.from_plain(raw["holds"])


def _write_names(
    path: Path, space: LabelSpace, drawn: Sequence[LabelSet], combined: Mapping[str, CombinedScan]
) -> None:
    """Write the names of all integers that the files hold or could have held."""
    integers = integers_of(space)
    present = {value for result in combined.values() for value in result.integers}
    present |= {
        integers[leaves] for leaves in (frozenset([space.background]), *drawn) if leaves in integers
    }
    named = {entry.leaves: entry for entry in space.classes}
    rows = [
        (value, named[leaves].name, named[leaves].abbreviation)
        if leaves in named
        else (value, UNKNOWN, "")
        for leaves, value in integers.items()
        if value in present
    ]
    write_rows(path, ["index", "name", "abbreviation"], sorted(rows))


def _write_table(
    path: Path, cohort: Cohort, labels: Mapping[str, Path], combined: Mapping[str, CombinedScan]
) -> None:
    """Write a row a scan, those without masks included, for `cohort=table`."""
    columns = ["subject", "session", *cohort.modalities]
    columns += ["label", "not_drawn", "mask", "scan_age", "birth_age", "split"]
    rows = []
    for scan in cohort.scans:
        label = labels.get(scan.id)
        images = [image and image.absolute() for image in scan.images]
        rows.append(
            [
                *(scan.subject, scan.session, *images),
                label and label.relative_to(path.parent),
                SEPARATOR.join(combined[scan.id].undrawn) if label else None,
                *(scan.mask and scan.mask.absolute(), scan.scan_age, scan.birth_age, scan.split),
            ]
        )
    write_rows(path, columns, rows)


def _tell(space: LabelSpace, scans: int, combined: Mapping[str, CombinedScan]) -> None:
    """Log how many scans show each structure, and where masks contradict each other."""
    lacking = Counter(leaf for result in combined.values() for leaf in result.undrawn)
    log.info("%d of %d scans have masks", len(combined), scans)
    for leaf in space.leaves:
        if count := lacking[leaf.abbreviation]:
            log.info("%s: not drawn in %d of them", leaf.abbreviation, count)
    contradicted: dict[str, list[str]] = {}
    for name, result in combined.items():
        for what, voxels in result.contradictions.items():
            contradicted.setdefault(what, []).append(f"{name} ({voxels})")
    for what, names in contradicted.items():
        log.warning("voxels lie in %s, which is left open there: %s", what, shorten(names))
