"""Hydra plugins of neoseg: its sweeper and its launchers.

Every command imports this file, so heavy imports are deferred to the functions that need them.
"""

import sys
from collections.abc import Sequence
from itertools import product
from types import ModuleType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from neoseg.buildable import find_code_beside
from neoseg.configuration.nodes import PLUGINS


class SurvivingSweeper(Sweeper):
    """Sweep over the same grid as Hydra's basic sweeper, skip finished jobs and list failed ones.

    Args:
        max_batch_size: jobs passed to the launcher at a time; None: all of them.
        params: values of keys, such as `{"annotation.draw": "0,1,2"}`, in addition to the command
            line's.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None) -> None:
        self.size = max_batch_size
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the context and the configuration of the sweep, and create its launcher."""
        find_code_beside(config.hydra)  # settings of all jobs are checked before any starts
        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs of the sweep that the command line and `hydra.sweeper.params` describe."""
        from neoseg.sweeps.sweep import run_sweep

        assert self.config is not None
        assert self.launcher is not None
        lines = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        jobs = grid(parser.parse_overrides(lines))
        size = self.size or len(jobs)
        batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        return run_sweep(self.context, self.config, batches, self.launcher.launch)


def grid(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job: the Cartesian product of the values of all keys."""
    values: dict[str, list[str]] = {}
    for item in overrides:
        key = item.get_key_element()
        if not item.is_sweep_override():
            values[key] = [f"{key}={item.get_value_element_as_str()}"]
        elif item.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in item.sweep_string_iterator()]
        else:
            raise HydraException(
                f"'{item.input_line}' has no values to go through; list them, as in {key}=1,2,3"
            )
    return [list(job) for job in product(*values.values())]


class _Launcher(Launcher):
    """Base class that stores what Hydra passes to every launcher."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the context, the job function and the configuration of the sweep."""
        self.context, self.task_function, self.config = hydra_context, task_function, config


class LocalLauncher(_Launcher):
    """Run jobs as separate commands on this machine, several at a time."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and wait for them."""
        from neoseg.sweeps.local import run_here

        run_here(self.context.config_loader, self.config, job_overrides)
        return []


class SlurmLauncher(_Launcher):
    """Submit jobs to SLURM through submitit."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit the jobs and wait for them."""
        from neoseg.sweeps.slurm import run_on_slurm

        run_on_slurm(self.context, self.task_function, self.config, job_overrides, initial_job_idx)
        return []


def register_plugins() -> None:
    """Register the sweeper and the launchers with Hydra, under the names used in their nodes."""
    plugins = Plugins.instance()
    # Hydra only instantiates plugins from its own packages, and looks classes up by name.
    sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    sys.modules[PLUGINS] = sys.modules[__name__]
    plugin_types: tuple[type[Plugin], ...] = (SurvivingSweeper, LocalLauncher, SlurmLauncher)
    for plugin in plugin_types:
        plugin.__module__ = PLUGINS
        plugins.register(plugin)
