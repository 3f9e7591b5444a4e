"""The groups of conf/cluster, and where a job runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.environments import SLURMEnvironment
from omegaconf import OmegaConf

from neoseg.configuration.cluster import LocalSettings, SlurmSettings
from neoseg.configuration.config import CONFIG_DIR, job_name
from neoseg.runs.trainer import cluster_environment


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
    return {
        "cluster": OmegaConf.to_container(config.cluster, resolve=True) if config.cluster else None,
        "launcher": config.hydra.launcher["_target_"].split(".")[-1],
        "exclude": list(config.hydra.job.config.override_dirname.exclude_keys),
    }


@pytest.mark.parametrize(
    ("name", "launcher"),
    [("none", "BasicLauncher"), ("local", "LocalLauncher"), ("slurm", "SlurmLauncher")],
)
def test_a_cluster_chooses_its_launcher_and_its_keys_name_no_folder(
    name: str, launcher: str
) -> None:
    found = composed(f"cluster={name}")
    assert found["launcher"] == launcher
    keys = yaml.safe_load((CONFIG_DIR / "cluster" / f"{name}.yaml").read_text())["cluster"] or ()
    overrides = [f"cluster={name}", *(f"cluster.{key}=1" for key in keys)]
    assert job_name(["seed=3", *overrides], found["exclude"]) == "seed-3"


def test_the_trainer_says_how_large_a_job_is() -> None:
    found = composed("cluster=slurm", "trainer.num_nodes=2", "trainer.devices=4")
    settings = SlurmSettings.model_validate(found["cluster"])
    parameters = settings.parameters("sweep", on_cpu=False)
    assert (parameters["nodes"], parameters["tasks_per_node"], parameters["gpus_per_node"]) == (
        *(2, 4),
        4,
    )
    assert "gpus_per_node" not in settings.parameters("sweep", on_cpu=True)
    LocalSettings.model_validate(composed("cluster=local")["cluster"])


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, LightningEnvironment),
        (
            {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
            SLURMEnvironment,
        ),
        (
            {
                "SLURM_JOB_ID": "7",
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "0",
                "SLURM_JOB_NAME": "bash",
            },
            LightningEnvironment,
        ),
    ],
    ids=["no SLURM", "salloc", "srun", "srun --pty bash"],
)
def test_only_what_srun_started_is_one_of_several(
    variables: dict[str, str], expected: type | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JOB_ID", "STEP_ID", "PROCID", "NTASKS", "JOB_NAME"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = cluster_environment()
    assert found is None if expected is None else type(found) is expected
    if isinstance(found, SLURMEnvironment):
        assert not found.auto_requeue


def test_long_names_of_folders_are_cut_and_stay_apart() -> None:
    names = {job_name(["x" * 300 + end], []) for end in "ab"}
    assert len(names) == 2
    assert all(len(Path(name).name) == 64 for name in names)
    assert job_name(["short"], []) == "short"


def test_what_changes_no_result_names_no_folder() -> None:
    silent = (
        "cluster=slurm",
        "cluster.time=60",
        "+cluster.options.mail-user=me@example.org",
        "paths.data=/scratch/data",
        "cohort.root=/data/dhcp",
        "extra_cohorts.fetal.cohort.root=/data/fetal",
        "patches.workers=4",
        "logger=csv",
        "logger.wandb.tags=[a,b]",
        "trainer.devices=2",
        "pictures=0",
    )
    named = ("seed=1", "+experiment=supervised", "+extra_cohorts.fetal.weight=0.5")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        fetal = "+cohort@extra_cohorts.fetal.cohort=bids"
        config = compose("train", [fetal, *named, *silent], return_hydra_config=True)
    assert config.hydra.sweep.subdir == job_name([fetal, *named], [])
