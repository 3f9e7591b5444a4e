"""What Hydra is told of neoseg: its sweeper and its launchers.

Every command imports this file, so it imports nothing heavy: what they do is in `neoseg.sweeps`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

PACKAGE = "hydra_plugins.neoseg"
"""What Hydra takes this module for."""


class SurvivingSweeper(BasicSweeper):
    """Hydra's grid of values; finished jobs are left out, failed ones listed at the end."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs of the sweep that the command line and `hydra.sweeper.params` describe."""
        from neoseg.sweeps.sweep import run_sweep

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        return run_sweep(self.hydra_context, self.config, batches, self.launcher.launch)


class _Launcher(Launcher):
    """Keeps what Hydra tells every launcher."""

    def __init__(self) -> None:
        self.context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep the context, the function of a job and the configuration of the sweep."""
        self.context = hydra_context
        self.task_function = task_function
        self.config = config


class LocalLauncher(_Launcher):
    """Runs jobs as commands of their own on this machine, several at a time."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and wait for them."""
        from neoseg.sweeps.local import run_here

        assert self.context is not None
        assert self.config is not None
        run_here(self.context.config_loader, self.config, job_overrides)
        return []


class SlurmLauncher(_Launcher):
    """Gives jobs to SLURM through submitit."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit the jobs and wait for them."""
        from neoseg.sweeps.slurm import run_on_slurm

        assert self.context is not None
        assert self.task_function is not None
        assert self.config is not None
        run_on_slurm(self.context, self.task_function, self.config, job_overrides, initial_job_idx)
        return []


def register() -> None:
    """Make the sweeper and the launchers known to Hydra, under the names that `conf/` chooses."""
    store, plugins = ConfigStore.instance(), Plugins.instance()
    # Hydra starts none that another package has, and looks the classes up by name.
    sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    sys.modules[PACKAGE] = sys.modules[__name__]
    nodes: tuple[tuple[str, str, type[Plugin], Any], ...] = (
        ("hydra/sweeper", "neoseg", SurvivingSweeper, BasicSweeperConf()),
        ("hydra/launcher", "neoseg_local", LocalLauncher, {}),
        ("hydra/launcher", "neoseg_slurm", SlurmLauncher, {}),
    )
    for group, name, plugin, keys in nodes:
        plugin.__module__ = PACKAGE
        plugins.register(plugin)
        node = OmegaConf.create(keys) if isinstance(keys, dict) else OmegaConf.structured(keys)
        node["_target_"] = f"{plugin.__module__}.{plugin.__name__}"
        store.store(group=group, name=name, node=node, provider="neoseg")
