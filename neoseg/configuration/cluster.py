"""Settings of `conf/cluster`: where the jobs of a sweep run."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from neoseg.findings.settings import ConfigError, Section

_TIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<first>\d+)(?::(?P<second>\d\d))?(?::(?P<third>\d\d))?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", re.IGNORECASE)
_PER_GB = {"k": 2.0**-20, "m": 2.0**-10, "g": 1.0, "t": 2.0**10}


def _minutes(value: Any) -> Any:
    """Return minutes, rounded up, of a time as sbatch takes it: `720`, `12:00:00`, `1-12`."""
    if not isinstance(value, str) or value.isdecimal():
        return value
    match = _TIME.fullmatch(value.strip())
    if match is None:
        raise ValueError("expected minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    days, *parts = (int(match[name] or 0) for name in ("d", "first", "second", "third"))
    whole = match["d"] is not None or match["third"] is not None
    hours, minutes, seconds = parts if whole else (0, *parts[:2])
    return 1440 * days + 60 * hours + minutes + (seconds > 0)


def _gigabytes(value: Any) -> Any:
    """Return GB of a number of GB, or of a size with its unit, as sbatch takes it: `64G`."""
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?", value):
        return value
    match = _MEMORY.fullmatch(value.strip())
    if match is None:
        raise ValueError("expected GB as a number, or a size with its unit such as 64G")
    return float(match[1]) * _PER_GB[match[2].lower()]


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


class LocalSettings(Section):
    """Settings of `conf/cluster/local.yaml`."""

    jobs: int | None = Field(default=None, ge=1)
    jobs_per_gpu: int = Field(default=1, ge=1)
    gpus: tuple[int, ...] | None = None
    threads: int | None = Field(default=None, ge=1)
    grace: float = Field(default=60.0, ge=0)


class SlurmSettings(Section):
    """Settings of `conf/cluster/slurm.yaml`."""

    nodes: int = Field(ge=1)
    tasks_per_node: int = Field(ge=1)
    gpus_per_node: int | Literal["auto"] | None = "auto"
    gres: str | None = None
    cpus_per_task: int | None = Field(default=None, ge=1)
    memory: Annotated[float | None, BeforeValidator(_gigabytes)] = Field(default=None, ge=2**-10)
    time: Annotated[int, BeforeValidator(_minutes)] = Field(ge=1)
    requeues: int = Field(default=100, ge=0)
    warning: int = Field(default=120, ge=1)
    jobs: int = Field(default=16, ge=1)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    wckey: str | None = None
    constraint: str | None = None
    exclude: Annotated[str | None, BeforeValidator(_joined)] = None
    setup: tuple[str, ...] = ()
    options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_warning(self) -> Self:
        if 60 * self.time <= 2 * self.warning:
            raise ConfigError(
                f"cluster.time is {self.time} minutes, of which cluster.warning takes "
                f"{self.warning} seconds to save in, so that a job would hardly train; set "
                f"cluster.time to {2 * self.warning // 60 + 1} or more, or a shorter warning"
            )
        return self

    def require_processes(self, devices: int | str, nodes: int, processes: int) -> None:
        """Raise `ConfigError` if a training would wait for processes that are never started."""
        if self.nodes != nodes or self.nodes * self.tasks_per_node != processes:
            raise ConfigError(
                f"cluster starts {self.tasks_per_node} processes on each of {self.nodes} nodes, "
                f"and the training is of trainer.devices={devices} on each of trainer.num_nodes="
                f"{nodes}, so that it would wait for ever; leave cluster.nodes and "
                "cluster.tasks_per_node as they are"
            )

    def parameters(self, name: str, on_cpu: bool) -> dict[str, Any]:
        """Return the parameters of the submitit executor."""
        gpus = self.gpus_per_node
        if gpus == "auto":
            gpus = None if on_cpu or self.gres is not None else self.tasks_per_node
        parameters = {
            "name": name,
            "nodes": self.nodes,
            "tasks_per_node": self.tasks_per_node,
            "cpus_per_task": self.cpus_per_task,
            "gpus_per_node": gpus,
            "mem_gb": self.memory,
            "timeout_min": self.time,
            "stderr_to_stdout": True,
            "slurm_gres": self.gres,
            "slurm_signal_delay_s": self.warning,
            "slurm_array_parallelism": self.jobs,
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "slurm_qos": self.qos,
            "slurm_wckey": self.wckey,
            "slurm_constraint": self.constraint,
            "slurm_exclude": self.exclude,
            "slurm_setup": list(self.setup),
            # Otherwise the other processes would wait for one that has failed.
            "slurm_srun_args": ["--kill-on-bad-exit=1"],
            "slurm_additional_parameters": {"requeue": True, **(self.options or {})},
        }
        return {key: value for key, value in parameters.items() if value is not None}


def cluster_of(raw: Any) -> Any:
    """Return SLURM or local settings, depending on the keys; anything but a mapping is unchanged.

    Raises:
        ConfigError: unknown keys or invalid values.
    """
    if not isinstance(raw, dict):
        return raw
    return (SlurmSettings if "nodes" in raw else LocalSettings).read(raw, "cluster")
