"""A W&B dashboard over a sweep.

It is saved as a view of the project in W&B, or, with `output=FILE`, written as the JSON that would
be sent, which needs no account. What W&B's pages make of it has not been tried: there is no server
in the tests, which check the content and that the metrics in it are those that runs log.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from omegaconf import DictConfig

from neoseg.borrowed import workspace_model
from neoseg.commands.panels import PanelSettings, make_workspace
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.outputs import OutputFile
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelSpace, LabelTable

log = logging.getLogger(__name__)

HOW = "log in with `wandb login`, or write the dashboard to a file with output=FILE"


class DashboardConfig(CommandConfig):
    """What `conf/dashboard.yaml` holds."""

    labels: LabelTable
    sweep: str
    project: str = "neoseg"
    entity: str | None = None
    output: OutputFile | None = None
    panels: PanelSettings = PanelSettings()


def main(config: DictConfig) -> None:
    """Build the dashboard, and save it in W&B or in a file; raises `ConfigError`, also W&B's."""
    command = DashboardConfig.parse(config)
    entity = command.entity or ""
    if command.output is None and not entity:
        entity = default_entity()
    space = LabelSpace.from_table(command.labels)
    workspace: Any = make_workspace(command.sweep, space, command.panels, command.project, entity)
    if command.output is not None:
        write_json(command.output, content_of(workspace), indent=1)
        log.info("dashboard: %s", command.output)
        return
    try:
        workspace.save()
    except Exception as error:
        raise ConfigError(f"W&B did not take the dashboard: {_reason(error)}; {HOW}") from None
    log.info("dashboard: %s", workspace.url)


def content_of(workspace: Any) -> dict[str, Any]:
    """Return what W&B would be sent: entity, project, name, and `spec` with runs and panels."""
    view = workspace_model(workspace)
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    return {
        "entity": view.entity,
        "project": view.project,
        "displayName": view.display_name,
        "spec": spec,
    }


def default_entity() -> str:
    """Return the user or team that is logged in; raises `ConfigError` where W&B names none."""
    import wandb

    try:
        found = wandb.Api().default_entity
    except Exception as error:
        raise ConfigError(f"W&B does not say who you are: {_reason(error)}; {HOW}") from None
    if not found:
        raise ConfigError(f"W&B knows no entity of this account; give entity=NAME, or {HOW}")
    return str(found)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
