"""Plans of a small cohort: what is decided, what stays as somebody set it, and when."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.planned import Given, read_plan_file, with_plan
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.planning.cost import count_of, expected, memory_of
from neoseg.planning.decide import Machine, decide
from neoseg.planning.fingerprint import Fingerprint
from neoseg.planning.make import parse_planned
from neoseg.planning.topology import topology
from neoseg.sweeps.jobs import Job

CPU, GPU = Machine(False, 16 << 30, 2, 1), Machine(True, 10 << 30, 16, 4)
HEADS = Fingerprint(
    fields=((110.0, 130.0, 120.0),) * 3,
    heads=((100.0, 120.0, 110.0),) * 3,
    spacings=((0.5, 0.5, 0.5),) * 3,
    voxel_size=(0.5, 0.5, 0.5),
    train=200,
    val=20,
    streams=2,
    images=1,
    leaves=10,
    computed=None,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the Decathlon: six blobs in scans of 20 x 28 x 20 mm."""
    folder = tmp_path_factory.mktemp("task")
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
    for number in range(6):
        labels = np.zeros((20, 28, 20), np.uint8)
        labels[5:15, 6:14, 5:15], labels[5:15, 14:22, 5:15] = 1, 2
        image = labels * 50 + rng.normal(100, 10, labels.shape)
        for part, data in (("imagesTr", image.astype(np.float32)), ("labelsTr", labels)):
            nib.save(nib.Nifti1Image(data, np.eye(4)), folder / part / f"hip_{number}.nii.gz")
    described = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior"}}
    described["labels"]["2"] = "Posterior"
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def composed(*overrides: str) -> tuple[DictConfig, Any]:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        found = compose("train", list(overrides), return_hydra_config=True)
    return OmegaConf.masked_copy(found, [str(k) for k in found if k != "hydra"]), found.hydra


def real(root: Path, data: Path, *overrides: str) -> tuple[DictConfig, Any]:
    keys = ("cohort=nnunet", f"cohort.root={root}", "labels=hippocampus", "trainer=cpu")
    protocol = ("annotation.protocol.merge=[HIP]", "store.processes=1")
    return composed(*keys, *protocol, f"paths.data={data}", *overrides)


def given(*overrides: str) -> Given:
    return Given.of_hydra(*composed(*overrides))


def test_what_is_set_and_what_is_not() -> None:
    plain = given("+experiment=partial_superclass", "trainer=cpu", "seed=3")
    keys = ("patches.size", "network", "trainer.max_epochs", "store.spacing", "optimizer.lr")
    assert not [key for key in keys if key in plain]
    assert "patches.size" in given("patches.size=[48,48,48]")  # the very default
    assert "patches.size" not in given("patches.batch_size=3")
    assert "patches.size" in given("patches=volume")
    assert "network" in given("network=unet3d_large")
    assert "network" in given("network.net.num_res_units=2")
    assert "trainer.max_epochs" not in given("trainer=gpu")
    paper = given("+experiment=paper_2d")
    assert {"patches.size", "network", "trainer.max_epochs", "store.normalise"} <= {
        key for key in (*keys, "store.normalise") if key in paper
    }


@pytest.mark.parametrize(
    ("overrides", "made"),
    [
        ((), False),
        (("cohort=bids", "cohort.root=/nowhere"), True),
        (("cohort=bids", "cohort.root=/nowhere", "patches.batch_size=3"), False),
        (("cohort=bids", "cohort.root=/nowhere", "trainer.max_steps=30"), False),
        (("cohort=bids", "cohort.root=/nowhere", "+experiment=paper_2d"), False),
        (("cohort=bids", "cohort.root=/nowhere", "plan=none"), False),
        (("plan=always",), True),
    ],
)
def test_a_run_is_planned_where_nobody_set_its_sizes(
    overrides: tuple[str, ...], made: bool, tmp_path: Path
) -> None:
    config, hydra = composed(*overrides)
    found, is_open = with_plan(config, Given.of_hydra(config, hydra), tmp_path)
    assert is_open is made
    assert made or found == config


def test_a_run_plans_itself_once_and_keeps_what_was_set(root: Path, tmp_path: Path) -> None:
    run = parse_planned(RunConfig, *real(root, tmp_path / "data"), tmp_path / "run")
    assert run.patches.size == (20, 28, 20)
    assert run.network["divisor"] == 4
    assert run.store.crop_margin is None  # no head is that small
    assert run.trainer.max_epochs * run.patches.steps_per_epoch >= 1000
    text = (tmp_path / "run" / "plan.yaml").read_text()
    values = [line for line in text.splitlines() if line.startswith("  ") and "#" in line]
    assert len(values) == 11  # a reason behind each
    spatial = run.augment.spatial
    assert (spatial.elastic, spatial.elastic_grid) == (1.2, 10.0)  # 28 of 45 mm
    assert "size: [20, 28, 20] # the median scan" in text
    # A second start takes the file, here edited; what is set goes before it.
    edited = text.replace("batch_size: 2 ", "batch_size: 3 ")
    assert edited != text
    (tmp_path / "run" / "plan.yaml").write_text(edited)
    again = parse_planned(RunConfig, *real(root, tmp_path / "data"), tmp_path / "run")
    assert again.patches.batch_size == 3
    file = f"plan={tmp_path}/run/plan.yaml"
    keys = real(root, tmp_path / "data", file, "patches.size=[24,24,24]", "trainer.max_epochs=2")
    other = parse_planned(RunConfig, *keys, tmp_path / "other")
    assert (other.patches.size, other.patches.batch_size) == ((24, 24, 24), 3)
    assert other.augment.spatial == spatial
    assert other.trainer.max_epochs == 2
    assert not (tmp_path / "other").exists()
    # What the plan costs is finite, and predicted without a training.
    cost = expected(run, run.plan())
    assert cost.steps >= 1000
    assert 0.5 < cost.memory / 2**30 < 2
    assert 0 < cost.step < 60


def test_the_jobs_of_a_sweep_know_their_plans_once_they_have_started(tmp_path: Path) -> None:
    lines = ("cohort=bids", "cohort.root=/nowhere", "trainer.devices=8")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", list(lines), return_hydra_config=True)
    job = Job.of(lines, tmp_path, config)
    assert (job.problem, job.planned, job.steps) == ("", False, 0)
    plan = {"patches": {"batch_size": 8, "steps_per_epoch": 10}, "trainer": {"max_epochs": 3}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    job = Job.of(lines, tmp_path, config)
    assert (job.problem, job.planned, job.steps) == ("", True, 30)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        read_plan_file(tmp_path / "none.yaml")


def decided(machine: Machine, found: Fingerprint, *overrides: str) -> dict[str, Any]:
    config, hydra = composed("cohort=bids", "cohort.root=/nowhere", *overrides)
    keys = Given.of_hydra(config, hydra)
    run = RunConfig.parse(with_plan(config, keys, None)[0])
    return {decision.key: decision.value for decision in decide(run, found, machine, keys)}


def test_a_gpu_gets_what_its_memory_affords_and_a_cpu_coarser_voxels() -> None:
    large, small = decided(GPU, HEADS), decided(CPU, HEADS)
    assert large["store.spacing"] == [0.5, 0.5, 0.5]
    assert large["trainer.precision"] == "bf16-mixed"
    assert large["patches.batch_size"] % 4 == 0  # four devices share it
    assert large["network"]["net"]["deep_supervision"] is True
    assert np.prod(large["patches.size"]) > 8 * np.prod(small["patches.size"])
    assert small["store.spacing"][0] in (0.75, 0.875, 1.0)
    assert np.prod(small["patches.size"]) * 16 >= np.prod(HEADS.shape(small["store.spacing"], True))
    assert "trainer.precision" not in small
    # With the data the steps grow, up to nnU-Net's.
    steps = [d["patches.steps_per_epoch"] * d["trainer.max_epochs"] for d in (large, small)]
    assert 1000 < steps[1] <= 11_000 < steps[0] <= 260_000
    few = decided(GPU, replace(HEADS, train=20))
    assert few["patches.steps_per_epoch"] * few["trainer.max_epochs"] < steps[0] / 5


def test_keys_that_are_given_decide_the_others() -> None:
    found = decided(CPU, HEADS, "network=dynunet", "trainer.max_steps=90")
    assert "network" not in found
    assert "trainer.max_epochs" not in found
    assert all(n % 16 == 0 for n in found["patches.size"])
    found = decided(CPU, HEADS, "patches.size=[48,32,40]", "plan=always")
    assert found["network"]["divisor"] == 8
    assert "patches.size" not in found


def test_memory_goes_with_voxels_items_and_bytes() -> None:
    network = topology((32, 32, 32), (1.0, 1.0, 1.0)).network(8, deep=False, classes=3)
    one, eight = (count_of(network, 1, 3, (n, n, n)) for n in (16, 32))
    assert eight.flops == pytest.approx(8 * one.flops, rel=0.01)
    assert eight.kept == pytest.approx(8 * one.kept, rel=0.05)
    assert memory_of(one.times(8), 2) == pytest.approx(memory_of(eight, 2), rel=0.05)
    base, half = memory_of(eight, 0), memory_of(eight, 4, 0.5)
    assert memory_of(eight, 4) - base == pytest.approx(2 * (half - base))


def test_many_logits_count() -> None:
    network = topology((32, 32, 32), (1.0, 1.0, 1.0)).network(8, deep=False, classes=3)
    few, many = (count_of(network, 1, classes, (32, 32, 32)) for classes in (3, 200))
    assert many.largest == 200 * 32**3 * 4 > few.largest
