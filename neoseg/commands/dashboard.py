"""Build a W&B dashboard of a sweep.

It is saved as a view of the W&B project or, with `output=FILE`, written as the JSON that would be
sent, which needs no account. The tests have no W&B server: they check the JSON, and that runs log
the metrics in it, but not how W&B displays the dashboard.
"""

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pydantic import field_validator

from neoseg.borrowed import workspace_model
from neoseg.commands.panels import PanelSettings, make_workspace
from neoseg.configuration.command_config import CommandConfig
from neoseg.configuration.outputs import OutputFile
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError, read_json
from neoseg.labels import LabelSpace, LabelTable

log = logging.getLogger(__name__)

REMEDY = "log in with `wandb login`, or write the dashboard to a file with output=FILE"

CONTENT = frozenset({"entity", "project", "displayName", "spec"})
"""Keys of the JSON file of a dashboard."""


class DashboardConfig(CommandConfig):
    """Schema of `conf/dashboard.yaml`."""

    labels: LabelTable
    sweep: str
    project: str = "neoseg"
    entity: str | None = None
    output: OutputFile | None = None
    panels: PanelSettings = PanelSettings()

    @field_validator("output")
    @classmethod
    def _require_free(cls, path: Path | None) -> Path | None:
        if path is not None and path.exists():
            try:
                found = set(read_json(path))
            except (ForeignError, TypeError):
                found = set()
            if not found >= CONTENT:
                raise ValueError("holds something else than a dashboard; name another file")
        return path


def main(config: DictConfig) -> None:
    """Build the dashboard, and save it in W&B or a file; raises `ConfigError` if W&B fails, too."""
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
        raise ConfigError(f"W&B did not take the dashboard: {_reason(error)}; {REMEDY}") from None
    log.info("dashboard: %s", workspace.url)


def content_of(workspace: Any) -> dict[str, Any]:
    """Return the JSON content for W&B: entity, project, name, and `spec` with runs and panels."""
    view = workspace_model(workspace)
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    return {
        "entity": view.entity,
        "project": view.project,
        "displayName": view.display_name,
        "spec": spec,
    }


def default_entity() -> str:
    """Return the user or team that is logged in; raises `ConfigError` if there is none."""
    import wandb

    try:
        entity = wandb.Api().default_entity
    except Exception as error:
        raise ConfigError(f"W&B does not say who you are: {_reason(error)}; {REMEDY}") from None
    if not entity:
        raise ConfigError(f"W&B knows no entity of this account; give entity=NAME, or {REMEDY}")
    return str(entity)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
