"""Growth curves: fit volumes of segmented scans against age, or compute deviations from them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from omegaconf import DictConfig
from pydantic import model_validator

from neoseg.cohort.table import write_rows
from neoseg.commands.volumes import (
    ID_COLUMNS,
    ages_of,
    existing_rows,
    volumes_of,
    warn_of_repeated,
)
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.outputs import OutputFile, ending_in
from neoseg.evaluation.report.style import WIDTH, new_figure, tidy
from neoseg.files import write_figure, write_json
from neoseg.findings.markup import figure_text
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json
from neoseg.inference.dataset import read_table, table_path
from neoseg.inference.origin import makers_of
from neoseg.trust.growth import Curve

log = logging.getLogger(__name__)

PERCENTILES = (3, 15, 50, 85, 97)
MAX_PANELS = 12
MADE_BY = "made_by"
"""Key of a file of curves: digests of the weights and settings by which its volumes were made."""


class GrowthConfig(CommandConfig):
    """Schema of `conf/growth.yaml`."""

    volumes: Path
    ages: Path
    output: Annotated[OutputFile, ending_in(".json")] | None = None
    curves: Path | None = None

    @model_validator(mode="after")
    def _check_mode(self) -> GrowthConfig:
        if (self.output is None) == (self.curves is None):
            raise ConfigError("give output=FILE to learn curves, or curves=FILE to use some")
        # Files of something else are not written over.
        if self.output is not None and self.output.exists():
            _read_curves(self.output)
        elif self.output is not None and (picture := self.output.with_suffix(".png")).exists():
            raise ConfigError(
                f"{picture} is there already, where the picture of the curves would be; give "
                f"{self.output.name} another name"
            )
        return self


def main(config: DictConfig) -> None:
    """Write curves, or deviations from given curves, and plot them."""
    command = GrowthConfig.parse(config)
    path = table_path(command.volumes, "volumes")
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist; volumes must be an output folder of neoseg.predict"
        )
    columns, rows = read_table(path)
    names = [name for name in columns if name not in ID_COLUMNS]
    if not rows or len(columns) - len(names) < len(ID_COLUMNS):
        raise ConfigError(f"{path} is not a table of volumes, or has no rows")
    rows = existing_rows(rows, command.volumes)
    known = None if command.curves is None else _read_curves(command.curves)
    wanted = names if known is None else [name for name in names if name in known[0]]
    volumes = volumes_of(path, wanted, rows)
    ages = ages_of(rows, command.ages)
    warn_of_repeated([row for row, age in zip(rows, ages, strict=True) if age == age])
    makers = {makers_of(command.volumes / row["file"]) for row in rows} - {()}
    if len(makers) > 1:
        log.warning(
            "the segmentations in %s come from %d different networks or settings, which differ in "
            "their volumes as well",
            *(command.volumes, len(makers)),
        )
    if command.output is not None:
        curves = _fit_curves(volumes, ages)
        content = {name: curve.plain() for name, curve in curves.items()}
        write_json(command.output, {MADE_BY: sorted(makers), **content}, indent=1)
        picture = command.output.with_suffix(".png")
        log.info("curves of %d structures in %s", len(curves), command.output)
    else:
        assert known is not None
        curves, learnt = known
        if makers and learnt and not makers <= learnt:
            log.warning(
                "the curves of %s were learnt from the segmentations of another network, or with "
                "other settings or by an earlier version, so that deviations show how these differ "
                "as well",
                command.curves,
            )
        _write_deviations(table_path(command.volumes, "growth"), rows, ages, volumes, curves)
        picture = command.volumes / "pictures" / "growth.png"
    _draw(picture, ages, volumes, curves)


def _fit_curves(volumes: Mapping[str, Sequence[float]], ages: Sequence[float]) -> dict[str, Curve]:
    curves = {}
    for name, column in volumes.items():
        pairs = [(a, volume) for a, volume in zip(ages, column, strict=True) if a == a]
        none = sum(volume == 0 for _, volume in pairs)
        pairs = [(age, volume) for age, volume in pairs if volume > 0]
        if none and pairs:
            log.warning("the curve of %s is of the %d scans that have any", name, len(pairs))
        try:
            curves[name] = Curve.fit([age for age, _ in pairs], [volume for _, volume in pairs])
        except ValueError as error:
            log.warning("no curve of %s: %s", name, error)
    if not curves:
        raise ConfigError("no curve can be fitted for any structure; segment more scans with ages")
    return curves


def _read_curves(path: Path) -> tuple[dict[str, Curve], set[tuple[str, ...]]]:
    """Return the curves of a file, and the makers of what they were learnt from."""
    try:
        content = read_json(path)
        makers = {tuple(map(str, digests)) for digests in content.pop(MADE_BY, [])}
        curves = {str(name): Curve.from_plain(raw) for name, raw in content.items()}
        if not curves:
            raise ValueError("it is empty")
        return curves, makers
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ConfigError(
            f"{path} holds no curves, which neoseg.growth writes with output=FILE ({error!r})"
        ) from None


def _write_deviations(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    ages: Sequence[float],
    volumes: Mapping[str, Sequence[float]],
    curves: Mapping[str, Curve],
) -> None:
    names = [name for name in curves if name in volumes]
    if not names:
        raise ConfigError(f"the curves are of {', '.join(curves)}, and the volumes of none of them")
    table = []
    for number, (row, age) in enumerate(zip(rows, ages, strict=True)):
        z_scores = [curves[name].z(age, volumes[name][number]) for name in names]
        cells = ["n/a" if z != z else f"{z:.3f}" for z in z_scores]
        table.append(
            [*(row[column] for column in ID_COLUMNS), f"{age:g}" if age == age else "n/a", *cells]
        )
    write_rows(path, [*ID_COLUMNS, "scan_age", *(f"{name}_z" for name in names)], table)
    unknown = sum(set(cells[len(ID_COLUMNS) + 1 :]) == {"n/a"} for cells in table)
    log.info("deviations of %d scans in %s", len(table) - unknown, path)
    if unknown:
        first = next(iter(curves.values()))
        log.warning(
            "%d scans have none: their age is not known, or not within the %.1f to %.1f weeks of "
            "the scans that the curves were learnt from",
            unknown,
            first.low,
            first.high,
        )


def _draw(
    path: Path,
    ages: Sequence[float],
    volumes: Mapping[str, Sequence[float]],
    curves: Mapping[str, Curve],
) -> None:
    """Plot scans and centile curves of the first structures."""
    names = [name for name in curves if name in volumes][:MAX_PANELS]
    count = math.ceil(len(names) / 3)
    figure = new_figure(WIDTH, 0.4 + 2 * count)
    panels = figure.subplots(count, 3, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        curve = curves[name]
        weeks = np.linspace(curve.low, curve.high, 100)
        for percent in PERCENTILES:
            width = 1.5 if percent == 50 else 0.8
            axes.plot(weeks, curve.centile(weeks, percent), color="#4c72b0", linewidth=width)
        axes.plot(ages, volumes[name], ".", color="#444444", markersize=3)
        axes.set_title(figure_text(name), fontsize="small")
        tidy(axes)
    for axes in panels[len(names) :]:
        axes.remove()
    figure.supxlabel(f"weeks; lines: centiles {', '.join(map(str, PERCENTILES))}", fontsize="small")
    figure.supylabel("ml", fontsize="small")
    write_figure(path, figure, dpi=150)
