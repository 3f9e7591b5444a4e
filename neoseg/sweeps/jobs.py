"""Jobs of a sweep, and their state as derived from their folders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from neoseg.configuration.planned import Given, with_plan
from neoseg.configuration.run import RunConfig
from neoseg.failure import FAILED, failure_of
from neoseg.files import find, write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, read_json
from neoseg.runs.find_rate import NAME
from neoseg.runs.folder import RECORD, is_claimed
from neoseg.tracking import METRICS
from neoseg.tracking.curves import CurveLogger
from neoseg.training.recipe import stages_of

SUBMISSION = "submission.json"
RATES = f"{NAME}.json"

State = Literal["new", "running", "interrupted", "failed", "finished"]


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: what the sweep sets for it, as on the command line.
        folder: of the run, the same each time that the sweep is started.
        arm: name of its experiment.
        run: its configuration; None if it is invalid.
        problem: why it is invalid.
        hydra_overrides: Hydra's own keys that the command line sets.
        planned: whether its sizes and steps are known; if not, they are planned when it starts.
    """

    overrides: tuple[str, ...]
    folder: Path
    arm: str
    run: RunConfig | None
    problem: str = ""
    hydra_overrides: tuple[str, ...] = ()
    planned: bool = True

    @classmethod
    def of(cls, overrides: Sequence[str], folder: Path, config: DictConfig) -> Job:
        """Parse the configuration of a job, with or without the node `hydra`."""
        keys = [str(key) for key in config if key != "hydra"]
        hydra_overrides = OmegaConf.select(config, "hydra.overrides.hydra") or ()
        run, problem, planned = None, "", True
        content = OmegaConf.masked_copy(config, keys)
        try:
            if "hydra" in config:
                content, is_open = with_plan(content, Given.of_hydra(content, config.hydra), folder)
                planned = not is_open
            run = RunConfig.parse(content)
        except ConfigError as error:
            problem = str(error)
        arm = str(OmegaConf.select(config, "name"))
        return cls(tuple(overrides), folder, arm, run, problem, tuple(hydra_overrides), planned)

    @property
    def state(self) -> State:
        """State of the run according to its folder."""
        if (self.folder / RECORD).is_file():
            return "finished"
        if is_claimed(self.folder):
            return "running"
        if (self.folder / FAILED).is_file():
            return "failed"
        return "interrupted" if (self.folder / CONFIG).is_file() else "new"

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do; a learning-rate test leaves a record of its own."""
        is_rate_test = self.run is not None and self.run.find_lr is not None
        return self.state == "finished" or (is_rate_test and (self.folder / RATES).is_file())

    @property
    def submission(self) -> str | None:
        """SLURM job number of its last submission, whatever became of it."""
        try:
            return str(read_json(self.folder / SUBMISSION, within=self.folder)["job"])
        except (ValueError, KeyError, TypeError):
            return None

    def submitted_as(self, number: str) -> None:
        """Save the job number of its submission to SLURM."""
        write_json(self.folder / SUBMISSION, {"job": number})

    @property
    def reason(self) -> str:
        """Why it has not finished, in one line."""
        if self.state == "failed":
            return failure_of(self.folder) or ""
        return "" if self.ended else f"{self.state}: start the sweep again to go on"

    @property
    def steps(self) -> int:
        """Optimizer steps of all its trainings; 0 if its settings are invalid or unplanned."""
        if self.run is None or not self.planned:
            return 0
        if self.run.find_lr is not None:
            return self.run.find_lr
        trainer = self.run.trainer
        per_epoch = math.ceil(self.run.patches.steps_per_epoch / trainer.accumulate_grad_batches)
        epochs = (
            trainer.max_epochs if stage.epochs is None else stage.epochs
            for stage in stages_of(self.run.recipe)
        )
        return per_epoch * sum(number or 0 for number in epochs)

    @property
    def steps_done(self) -> int:
        """Steps recorded in its curves, those of earlier stages included."""
        if self.state == "finished":
            return self.steps
        return sum(map(_last_step, find(self.folder, [METRICS])))

    @property
    def devices(self) -> int:
        """Number of processes of the run, as far as its configuration determines it."""
        return 1 if self.run is None else self.run.trainer.processes


def compose_job(loader: ConfigLoader, sweep: DictConfig, overrides: Sequence[str]) -> Job:
    """Compose the job of a sweep with the given overrides."""
    config = loader.load_sweep_config(sweep, list(overrides))
    folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
    folder /= str(OmegaConf.select(config, "hydra.sweep.subdir"))
    return Job.of(overrides, folder.resolve(), config)


def seconds_per_step(jobs: Iterable[Job]) -> dict[str, float]:
    """Return the median time per step by arm, in seconds, from finished jobs.

    Scores and validation are included.
    """
    times: dict[str, list[float]] = {}
    for job in jobs:
        if job.state == "finished":
            record = read_json(job.folder / RECORD, within=job.folder)
            if isinstance(record, dict) and record.get("steps") and record.get("seconds"):
                # `steps` in the record counts the last stage only.
                times.setdefault(job.arm, []).append(record["seconds"] / max(job.steps, 1))
    return {arm: sorted(seconds)[len(seconds) // 2] for arm, seconds in times.items()}


def _last_step(curve: Path) -> int:
    return max((int(row["step"]) + 1 for row in CurveLogger(curve).rows), default=0)
