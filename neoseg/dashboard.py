"""A W&B dashboard over a sweep: `python -m neoseg.dashboard sweep=NAME`.

It is saved as a view of the project in W&B, or, with `output=FILE`, written as the JSON that would
be sent, which needs no account. What W&B's pages make of it has not been tried: there is no server
in the tests, which check the content and that the metrics in it are those that runs log.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neoseg.configuration.assembly import space_of
from neoseg.configuration.command import command
from neoseg.configuration.config import settings_of
from neoseg.files import write_text
from neoseg.findings.settings import ConfigError
from neoseg.panels import PanelSettings, make_workspace

log = logging.getLogger(__name__)

HOW = "log in with `wandb login`, or write the dashboard to a file with output=FILE"


@command("dashboard")
def main(config: DictConfig) -> None:
    """Build the dashboard, and save it in W&B or in a file."""
    build(config)


def build(config: DictConfig) -> None:
    """Do what the configuration of the command says.

    Raises:
        ConfigError: settings that cannot work, a library that is missing, or W&B's refusal.
    """
    settings = settings_of(PanelSettings, config, "panels")
    entity = str(config.entity or "")
    if not config.output and not entity:
        entity = default_entity()
    workspace = make_workspace(
        str(config.sweep), space_of(config), settings, str(config.project), entity
    )
    if config.output:
        path = Path(config.output)
        write_text(path, json.dumps(content_of(workspace), indent=1) + "\n")
        log.info("dashboard: %s", path)
        return
    try:
        workspace.save()
    except Exception as error:
        raise ConfigError(f"W&B did not take the dashboard: {_reason(error)}; {HOW}") from None
    log.info("dashboard: %s", workspace.url)


def content_of(workspace: Any) -> dict[str, Any]:
    """Return what W&B would be sent: entity, project, name, and `spec` with runs and panels."""
    view = workspace._to_model()
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    return {
        "entity": view.entity,
        "project": view.project,
        "displayName": view.display_name,
        "spec": spec,
    }


def default_entity() -> str:
    """Return the user or team of the account that is logged in.

    Raises:
        ConfigError: nobody is, or W&B cannot be reached.
    """
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


if __name__ == "__main__":
    main()
