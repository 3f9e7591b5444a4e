"""A SLURM cluster of two nodes on this machine's loopback, for tests.

`python tests/cluster/slurm_cluster.py` brings one up until Ctrl-C, to try commands by hand. It
needs root and Debian's packages slurm-wlm and munge.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("n1", "n2")
START = 60.0
"""Seconds in which the nodes must be ready."""

CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"{', '.join(missing)} missing (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "only root can start a cluster"


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster: its folder with all logs, and the environment of its users."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str) -> str:
        """Run one of SLURM's commands and return what it prints."""
        result = subprocess.run(
            command, env=dict(self.environment), capture_output=True, text=True, timeout=30
        )
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr}")
        return result.stdout

    def queue(self) -> dict[str, str]:
        """Return the state of each job that has not ended."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def logs(self) -> str:
        """Return the ends of the logs of its daemons."""
        return "\n".join(
            f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Start a cluster in a temporary folder, and end all of it afterwards."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        configuration = _write_configuration(folder)
        cluster = SlurmCluster(folder, {**os.environ, "SLURM_CONF": str(configuration)})
        stack.enter_context(_munge(folder))
        daemons = [["slurmctld", "-D", "-i"], *(["slurmd", "-D", "-N", node] for node in NODES)]
        for command in daemons:
            stack.enter_context(_daemon(command, folder, cluster.environment))
        stack.callback(_clear, cluster)
        command = ("sinfo", "--noheader", "--format=%D %t")
        _wait_until(lambda: "2 idle" in cluster.run(*command), cluster)
        yield cluster


def _write_configuration(folder: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    (folder / "state").mkdir()
    ports = free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 State=UNKNOWN"
        for name, port in zip(NODES, ports[1:], strict=True)
    )
    path = folder / "slurm.conf"
    path.write_text(CONFIG.format(host=host, port=ports[0], folder=folder, nodes=nodes))
    return path


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]


@contextmanager
def _munge(folder: Path) -> Iterator[None]:
    home = folder / "munge"
    home.mkdir()
    key = home / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    for path in (home, key):
        shutil.chown(path, "munge", "munge")
    files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid"}
    options = [f"--{name}={home / file}" for name, file in files.items()]
    command = ["munged", "--foreground", *options, f"--seed-file={home / 'seed'}"]
    with _daemon(command, folder, os.environ, user="munge"):
        deadline = time.monotonic() + START
        while not (home / "socket").exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"munged does not start: {(folder / 'munged.log').read_text()}")
            time.sleep(0.05)
        yield


@contextmanager
def _daemon(
    command: list[str], folder: Path, environment: Mapping[str, str], user: str | None = None
) -> Iterator[None]:
    name = "-".join([command[0], *(part for part in command if part in NODES)])
    program = _program(command[0])
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            [str(program), *command[1:]],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _clear(cluster: SlurmCluster) -> None:
    """End all jobs while the nodes can still do it."""
    with suppress(RuntimeError, subprocess.TimeoutExpired):
        if cluster.queue():
            cluster.run("scancel", "--user=root")
            _wait_until(lambda: not cluster.queue(), cluster, 20.0)


def _wait_until(ready: Callable[[], bool], cluster: SlurmCluster, seconds: float = START) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(RuntimeError):
            if ready():
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the cluster is not ready after {seconds:.0f} s\n{cluster.logs()}")
        time.sleep(0.2)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def main() -> None:
    """Keep a cluster until Ctrl-C."""
    reason = why_not()
    if reason is not None:
        raise SystemExit(f"no cluster here: {reason}")
    with slurm_cluster() as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
