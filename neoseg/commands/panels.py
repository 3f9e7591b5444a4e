"""Build a W&B workspace that compares the arms of a sweep by the metrics that runs log."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from neoseg.findings.settings import ConfigError, Section
from neoseg.labels import LabelSpace
from neoseg.tracking.curves import WAIT
from neoseg.tracking.wandb_run import OVERLAYS
from neoseg.training.module import MONITOR

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

ARM = "JobType"
SHARE = "test/full_fraction"

GROUPS = {
    "test/dice": "all structures",
    "test/dice_hidden": "structures that partial labels hide",
    "test/dice_visible": "structures that partial labels show",
}
"""Metrics of mean test Dice, with the structures that they average over."""


class PanelSettings(Section):
    """Settings of the section `panels`."""

    title: str | None = None
    classes: int = Field(default=16, ge=0)
    overlays: int = Field(default=2, ge=0)
    interval: Literal["stderr", "stddev", "minmax"] = "stderr"


def make_workspace(
    sweep: str, space: LabelSpace, settings: PanelSettings, project: str, entity: str
) -> ws.Workspace:
    """Return the workspace without sending it.

    It shows the runs of the sweep (W&B group), except earlier stages of recipes, grouped by arm
    (W&B job type). Bars and lines are means over the draws and seeds of an arm. An empty entity is
    filled in when the workspace is saved.

    Raises:
        ConfigError: the library is not installed, or W&B filters do not support the sweep's name.
    """
    if set(sweep) & set("'\"\\"):
        raise ConfigError(
            f"sweep is {sweep!r}; W&B's filters cannot hold quotes and backslashes, give the sweep "
            "another name"
        )
    if find_spec("wandb_workspaces") is None:
        raise ConfigError(
            "the dashboard is built with wandb-workspaces, which is not installed; pip install "
            "'neoseg[dashboard]'"
        )
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as ws

    runs = ws.RunsetSettings(
        filters=expr.And(expr.Metric("Group") == sweep, expr.Config("stage") == "last"),
        groupby=[expr.Metric(ARM)],
        order=[expr.Ordering(expr.Metric(ARM), ascending=True)],
        pinned_columns=["summary:test/dice", f"summary:{SHARE}"],
    )
    sections = [
        ws.Section(name=name, panels=panels, is_open=True)
        for name, panels in _sections(space, settings).items()
        if panels
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=settings.title or f"Sweep {sweep}",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=runs,
    )


def _sections(space: LabelSpace, settings: PanelSettings) -> dict[str, list[Any]]:
    wr: Any = import_module("wandb_workspaces.reports.v2")  # has no type annotations

    def bars(metric: str, title: str) -> Any:
        return wr.BarPlot(title=title, metrics=[metric], range_x=(0, 1), **grouping)

    def lines(metric: str, title: str, x: str = "step") -> Any:
        return wr.LinePlot(title=title, x=x, y=[metric], **grouping)

    grouping: dict[str, Any] = {
        "groupby": wr.Metric(ARM),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": settings.interval,
    }
    names = [
        entry.abbreviation
        for number, entry in enumerate(space.classes)
        if number != space.background
    ][: settings.classes]
    media = [f"{OVERLAYS}/{number}" for number in range(1, settings.overlays + 1)]
    return {
        "Test Dice by arm": [bars(name, f"Test Dice, {what}") for name, what in GROUPS.items()],
        "Label share": [
            lines(name, f"Test Dice by share of full labels, {what}", x=SHARE)
            for name, what in GROUPS.items()
        ],
        "Structures": [bars(f"test/dice/{name}", f"Test Dice, {name}") for name in names],
        "Training": [
            lines(MONITOR, "Validation Dice"),
            lines("train/loss", "Training loss"),
            *(lines(f"val/dice/{name}", f"Validation Dice, {name}") for name in names),
        ],
        "Machine": [
            lines("lr", "Learning rate"),
            lines(WAIT, "Share of the time in which training waits for data"),
        ],
        "Overlays": [
            wr.MediaBrowser(
                title=f"Validation scan {number}: prediction and annotation",
                media_keys=[key],
                mode="grid",
                grid_x_axis="step",
                grid_y_axis="run",
            )
            for number, key in enumerate(media, 1)
        ],
        "Scores and run cards": [
            wr.WeavePanelSummaryTable(table_name="scores"),
            wr.MediaBrowser(title="Run card", media_keys=["run_card"]),
        ],
    }
