"""A run in Weights & Biases: a copy of the run folder's results, which may fail without harm."""

import logging
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from neoseg.borrowed import NOTHING_OF_THE_MACHINE
from neoseg.files import write_json
from neoseg.findings.privacy import without_ids
from neoseg.findings.settings import Section
from neoseg.foreign import CONFIG, read_json
from neoseg.inference.planes import Plane
from neoseg.labels import Codebook
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.masks import masked_images
from neoseg.tracking.service import About, LoggerError, ServiceRun, guarded

log = logging.getLogger(__name__)

STATE = "wandb.json"
"""File beside the curves that holds the run's id, so that a resumed training continues it."""

OVERLAYS = "overlays"
"""Overlays are logged as `overlays/1`, `overlays/2`, ..., one key per scan."""

UPLOAD_SECONDS = 60.0
"""Seconds to wait for pending uploads at the end of a run; `wandb sync` does the rest.

Shorter than the notice that a cluster gives before it takes a machine away.
"""


class WandbSettings(Section):
    """Settings under `logger.wandb`."""

    mode: str = Field(default="offline", pattern="^(offline|online|disabled)$")
    project: str = "neoseg"
    entity: str | None = Field(default=None, description="user or team; null: the account's own")
    tags: tuple[str, ...] = ()
    overlays: int = Field(default=2, ge=0, description="validation scans that are shown")
    overlay_every: int = Field(default=1, ge=1, description="validations between two overlays")


class WandbRun(ServiceRun):
    """Send curves, overlays and results to one W&B run, from the first process.

    A resumed training continues under the same id. Online, W&B appends to the run; offline, where
    it cannot, the curves so far are sent again from `metrics.csv`, so that the newest folder in
    `wandb/` holds the curves from the first step.

    Args:
        settings: of the run.
        run: the run folder, in which W&B creates its folder `wandb`.
        curves: the CSV logger, next to whose file the id is stored.
        about: name, group, tags and configuration.
    """

    service = "W&B"

    def __init__(
        self, settings: WandbSettings, run: Path, curves: CurveLogger, about: About
    ) -> None:
        super().__init__(curves, about)
        self.settings = settings
        self.folder = run
        self._run: Any = None

    @property
    def name(self) -> str:
        """Name among the loggers."""
        return "wandb"

    @guarded
    def log_overlay(
        self, number: int, caption: str, planes: Sequence[Plane], codebook: Codebook, step: int
    ) -> None:
        """Send the planes of a scan, with prediction and truth as masks that can be toggled.

        Args:
            number: of the scan, from 1.
            caption, planes, codebook: as for `masked_images`.
            step: as for `log_metrics`.
        """
        name = f"scan {number}" if self.about.privacy == "subjects" else caption
        self._send({f"{OVERLAYS}/{number}": masked_images(name, planes, codebook)}, step)

    @guarded
    def log_results(
        self,
        values: Mapping[str, Any],
        scores: pd.DataFrame | None,
        page: str,
        files: Sequence[Path],
    ) -> None:
        """Send all results; the files become an artefact of type "run-card"."""
        import wandb

        self._open()
        content: dict[str, Any] = {"run_card": wandb.Html(page, inject=False)}
        if scores is not None:
            if self.about.privacy == "subjects":
                scores = without_ids(scores)
            plain = scores.astype(object).where(scores.notna(), None)
            rows: list[Any] = plain.to_numpy().tolist()
            content["scores"] = wandb.Table(
                columns=list(plain.columns), data=rows, allow_mixed_types=True
            )
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        self._run.log(content | numbers)
        self._run.summary.update(dict(values))
        card = wandb.Artifact(f"run-card-{self._run.id}", type="run-card")
        for path in files:
            card.add_file(str(path))
        self._run.log_artifact(card)

    @guarded
    def close(self, failed: bool = False) -> None:
        """End the run, so that the next stage or job opens its own."""
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=int(failed))

    def _send(self, content: Mapping[str, Any], step: int | None) -> None:
        self._open()
        self._run.log(dict(content) if step is None else {**content, "step": step})

    def _open(self) -> None:
        if self._run is not None:
            return
        settings = any(Path(folder, "settings").exists() for folder in ("wandb", ".wandb"))
        if settings and Path(CONFIG).is_file() and Path("split.csv").is_file():
            # W&B would read there which server gets the key and the curves.
            raise LoggerError(
                f"{Path.cwd()} is a run folder with settings of W&B; start the "
                "command in another folder"
            )
        import wandb

        path = self._curves.path.with_name(STATE)
        saved = read_json(path, within=self.folder) if path.is_file() else None
        state = saved or {"id": secrets.token_hex(4), "group": self.about.group}
        online = self.settings.mode == "online"
        restrictions = {} if self.about.privacy == "none" else NOTHING_OF_THE_MACHINE
        self._run = wandb.init(
            mode="online" if online else "offline",
            project=self.settings.project,
            entity=self.settings.entity,
            dir=str(self.folder),
            id=state["id"],
            name=self.about.name,
            group=state["group"],
            job_type=self.about.job_type,
            tags=list(self.about.tags),
            config=self.about.config,
            resume="allow" if online and saved else None,
            reinit="create_new",  # leave other runs of this process alone
            settings=wandb.Settings(
                finish_timeout=UPLOAD_SECONDS,
                quiet=True,
                silent=not online,  # online, print the URL of the run
                **restrictions,
            ),
        )
        write_json(path, state)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step", step_sync=True)
        if saved and not online:
            for row in self._curves.rows:
                self._run.log(row)

    def give_up(self, error: Exception) -> None:
        """Stop sending, and end the run if possible."""
        super().give_up(error)
        run, self._run = self._run, None
        try:
            if run is not None:
                run.finish(exit_code=1)
                return
        except Exception as finish_error:
            log.debug("W&B could not end the run: %s", finish_error)
        # Its service process may be dead; the next run of this process gets a new one.
        with suppress(Exception):
            sys.modules["wandb"].teardown(exit_code=1)
