"""Draft a label table from the label names of a data set, or from the integers of its files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from omegaconf import DictConfig
from pydantic import Field, model_validator

from neoseg.cohort.formats import ending_of, stem_of, volumes_in
from neoseg.cohort.named import read_named
from neoseg.cohort.segments import segments_of
from neoseg.configuration.command_config import SEVERAL, CommandConfig
from neoseg.configuration.outputs import OutputFile
from neoseg.errors import printable
from neoseg.files import write_text
from neoseg.findings.problems import Problems, shorten
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelError, LabelSpace, LabelTable
from neoseg.labels.convention import ROUNDING
from neoseg.labels.draft import Named, Region, draft, one_sided, written
from neoseg.labels.written import ending, write_table

log = logging.getLogger(__name__)

MAX_LEAVES = 254
"""Largest number of leaves of a table."""


class LabelsConfig(CommandConfig):
    """Schema of `conf/labels.yaml`."""

    source: Path = Field(alias="from")
    only: Annotated[tuple[Path, ...], SEVERAL] = ()
    output: OutputFile
    format: Literal["neoseg", "freesurfer", "itksnap", "slicer", "mrtrix"] = "neoseg"
    overwrite: bool = False

    @model_validator(mode="after")
    def _check_output(self) -> LabelsConfig:
        expected = ".yaml" if self.format == "neoseg" else ending(self.format)
        if self.output.suffix != expected:
            raise ConfigError(f"output is {self.output}, expected a file that ends in {expected}")
        if self.format != "neoseg" and self.source.suffix != ".yaml":
            raise ConfigError(f"from is {self.source}, expected a label table, NAME.yaml")
        return self


def main(config: DictConfig) -> None:
    """Write the table, and log what was guessed and what has to be corrected."""
    command = LabelsConfig.parse(config)
    source, output = command.source.expanduser(), command.output.expanduser()
    if output.exists() and not command.overwrite:
        raise ConfigError(f"{output} is there already; name another file, or set overwrite=true")
    if command.format != "neoseg":
        write_table(output, LabelTable.read(source), command.format)
        log.info("%s: %s", command.format, output)
        return
    named, regions = read_source(source)
    present = integers_in(command.only) if command.only else None
    named, regions = _restricted_to(named, regions, present)
    table = draft(output.stem, named, regions)
    count = len(table["leaves"])
    if not 2 <= count <= MAX_LEAVES:
        raise ConfigError(
            f"{source} names {count - 1} structures beside the background, and a label table has "
            f"1 to {MAX_LEAVES - 1}; only=[FILE,...] takes those that these label files hold"
        )
    write_text(output, written(table, printable(source.name)))
    log.info("%d leaves and %d classes: %s", count, len(table["classes"]), output)
    names = {item.index: item.name for item in named}
    for left, right in table["mirror"]:
        log.info("mirror pair by name: %d %s, %d %s", left, names[left], right, names[right])
    unpaired = one_sided(named, table["mirror"])
    if unpaired:
        log.warning("have a side and no partner: %s", shorten(item.name for item in unpaired))
    try:
        LabelSpace.from_table(LabelTable.read(output))
    except LabelError as error:
        log.warning("to be corrected in %s before it is used: %s", output, error)


def read_source(path: Path) -> tuple[list[Named], list[Region]]:
    """Read structures and regions from a file of label names or from a label image.

    In a folder, each volume is the mask of a structure that is called as the file.

    Raises:
        CohortError: listing every unreadable line.
        ConfigError: a folder without volumes.
        DataError: an unreadable label image.
        LabelError: an image whose voxels are not labels.
    """
    if path.is_dir():
        words = sorted({stem_of(volume) for volume in volumes_in(path)})
        if not words:
            raise ConfigError(f"{path} has no volumes, expected a mask file for each structure")
        named = (Named(n, word.replace("_", " "), word) for n, word in enumerate(words, start=1))
        return list(named), []
    if segments := segments_of(path):
        pairs = ((int(value), name) for value, name in segments if value.isdecimal())
        return [Named(value, name) for value, name in sorted(pairs) if value], []
    if ending_of(path.name):
        return [Named(value, f"Structure {value}") for value in integers_in([path]) if value], []
    problems = Problems()
    named_and_regions = read_named(path, problems)
    problems.settle(f"label names '{path}'")
    return named_and_regions


def integers_in(paths: Iterable[Path]) -> list[int]:
    """Return the sorted integers that occur in label files; raises as `read_source`."""
    from neoseg.store.volume import read_volume

    integers: set[int] = set()
    for path in paths:
        values = np.unique(read_volume(path.expanduser(), dtype=np.int64).data)
        rounded = np.rint(values)
        if len(values) > 2**16 or np.abs(values - rounded).max(initial=0) > ROUNDING:
            raise LabelError(f"{path} is not a label image: it has {len(values)} different values")
        integers.update(int(value) for value in rounded)
    return sorted(integers)


def _restricted_to(
    named: list[Named], regions: list[Region], present: list[int] | None
) -> tuple[list[Named], list[Region]]:
    """Keep only the given integers, or all but those of regions.

    A region whose own integer is kept, too, is called `whole`: the integer stands for what is in
    none of its parts.

    Raises:
        ConfigError: an integer without a name.
    """
    known = {item.index for item in named}
    kept = known - {region.index for region in regions} if present is None else set(present)
    unnamed = [value for value in sorted(kept) if value and value not in known]
    if unnamed:
        raise ConfigError(f"only: the label files hold {shorten(unnamed)}, which have no name")
    reduced = []
    for region in regions:
        members = tuple(index for index in region.members if index in kept)
        if region.index in kept:
            short = f"{region.abbreviation or region.name}_whole"
            region = replace(region, name=f"{region.name}, whole", abbreviation=short)
        if members:
            reduced.append(replace(region, members=members))
    return [item for item in named if item.index in kept], reduced
