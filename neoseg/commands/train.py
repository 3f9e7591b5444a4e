"""Train a run in the folder that Hydra chose, or resume one."""

import logging
import signal
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from neoseg.configuration.config import sweeping
from neoseg.configuration.resume import resumed
from neoseg.configuration.run import RunConfig
from neoseg.failure import failure_noted
from neoseg.findings.command_line import again, command, override
from neoseg.findings.settings import ConfigError
from neoseg.planning.make import parse_planned
from neoseg.processes import in_submitit, is_first_process
from neoseg.runs.loading import warn_of_relative_paths
from neoseg.runs.run import train
from neoseg.training.stopping import requeue

log = logging.getLogger(__name__)


def main(config: DictConfig) -> float:
    """Train, score and write the run folder."""
    # Imported after neoseg.training, which keeps Lightning from importing unused packages.
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if config.dry_run:
        raise ConfigError("dry_run lists the jobs of a sweep; add -m")
    ablation = hydra.runtime.choices.get("ablation")
    if ablation and not sweeping():
        raise ConfigError(f"ablation={ablation} is a sweep of several runs; add -m")
    if config.resume is None:
        with failure_noted(folder):
            run = parse_planned(RunConfig, config, hydra, folder)
    else:
        run = resumed(folder, list(hydra.overrides.task), config.allow)
        warn_of_relative_paths(folder, run.content)
    try:
        return train(run, folder, resuming=config.resume is not None)
    except SIGTERMException as end:
        with failure_noted(folder):
            requeue()
        # Lightning's exception would end the process with status 0. A job to be requeued and all
        # processes but the first must exit with 0 nevertheless: Lightning kills the first process
        # if another one exits with an error, possibly before it has requeued the job.
        if in_submitit() or not is_first_process():
            sys.exit(0)
        if not sweeping():
            _log_interruption(folder, run)
        sys.exit(128 + int(end.code or signal.SIGTERM))
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning exits when interrupted; SIGTERMException is a SystemExit, too.
        interrupted = isinstance(end, KeyboardInterrupt) or isinstance(
            end.__context__, KeyboardInterrupt
        )
        if not interrupted or sweeping():
            raise
        _log_interruption(folder, run)
        sys.exit(128 + signal.SIGINT)


def _log_interruption(folder: Path, run: RunConfig) -> None:
    asked = (override("resume", folder), *_services(run), *again(run.allow))
    line = command("train", *asked)
    log.error("interrupted; %s goes on from what is saved", line)


def _services(run: RunConfig) -> list[str]:
    """Return the overrides with which a resumed run sends its curves to its services again."""
    overrides = ["logger.wandb.mode=online"] if run.logger.wandb.mode == "online" else []
    uri = run.logger.mlflow.uri
    return overrides if uri is None else [*overrides, override("logger.mlflow.uri", uri)]
