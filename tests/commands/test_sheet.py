"""The sheet of augmented patches draws what a training gets."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from forked import run_command
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tiny_run import train

from neoseg.augment import AugmentSettings
from neoseg.commands.gallery import Panel, Sample, write_sheet
from neoseg.commands.sheet import sample_of
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.patches.datamodule import MixedDataModule

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(compose_train: Callable[..., DictConfig]) -> MixedDataModule:
    config = compose_train("+experiment=partial_mean_teacher", "augment=strong")
    run = RunConfig.parse(config)
    annotated = run.plan()
    data = run.data(annotated, with_teacher=True)
    data.prepare_data()
    data.setup()
    return data


def test_a_row_shows_what_training_gets(data: MixedDataModule) -> None:
    loader = data.train_dataloader()
    batches = [batch.with_intensities() for batch in loader]
    seen = set()
    for step, batch in enumerate(batches):
        for item in range(2):
            sample = sample_of(loader.dataset, step, item, ["T2w"])  # type: ignore[arg-type]
            names = [panel.name for panel in sample.panels]
            assert names == ["original", "augmented", "what is known", "of the teacher"]
            original, augmented, known, teacher = sample.panels
            np.testing.assert_array_equal(augmented.image, batch.image[item])
            np.testing.assert_array_equal(known.codes, batch.codes[item])  # type: ignore[arg-type]
            np.testing.assert_array_equal(teacher.image, batch.teacher_image[item])
            same = np.array_equal(original.image, augmented.image)
            assert same == (sample.changes == "unchanged")
            assert f"step {step}, item {item}" in sample.title
            seen |= set(sample.changes.split(", "))
    assert seen & {"flip", "affine", "noise", "bias field", "gamma", "contrast"}


def test_torchio_is_named_and_drawn_as_in_training(data: MixedDataModule) -> None:
    dataset = copy(data.train_dataloader().dataset)
    torchio = [{"name": "RandomNoise", "p": 0.5}, {"name": "RandomGamma", "p": 0.5}]
    dataset.augment = AugmentSettings.model_validate({"torchio": torchio})
    found = set()
    for item in (0, 1):
        for step in range(4):
            sample = sample_of(dataset, step, item, ["T2w"])
            found.add(sample.changes)
            changed = not np.array_equal(sample.panels[0].image, sample.panels[1].image)
            assert changed == (sample.changes != "unchanged")
    assert len(found) > 1
    assert found <= {
        *("unchanged", "TorchIO's Noise", "TorchIO's Gamma", "TorchIO's Noise, TorchIO's Gamma"),
    }


@pytest.mark.parametrize(("size", "planes"), [((12, 14, 16), 3), ((1, 14, 16), 1)])
@pytest.mark.parametrize("modalities", [1, 2])
def test_panels_show_their_planes(size, planes, modalities, codebook, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(modalities, *size)).astype(np.float32)
    codes = np.full(size, codebook.code(frozenset([1])), np.uint8)
    panels = (Panel("original", image), Panel("known", image, codes))
    sample = Sample("somebody", "nothing", (1.0, 1.0, 1.0), panels)
    path = write_sheet(tmp_path / "new" / "sheet.png", [sample, sample], codebook)
    pixels = matplotlib.image.imread(path)[..., :3]
    above = pixels[: int(0.75 * len(pixels))]  # below is the legend
    red = (above[..., 0] > above[..., 1] + 0.4).sum(axis=0) > 5
    half = len(red) // 2
    assert red[half:].mean() > 0.3
    assert not red[:half].any()
    assert len(list(tmp_path.rglob("*"))) == 2  # nothing is left beside it
    # Sagittal, coronal and axial planes are apart.
    runs = np.flatnonzero(np.diff(red.astype(int)) == 1)
    assert len([r for r in runs if r > half]) >= planes


def test_the_sheet_composes_what_train_composes() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        overrides = ["+experiment=paper_2d", "patches.batch_size=3"]
        trained = OmegaConf.to_container(compose("train", overrides))
        drawn = OmegaConf.to_container(compose("sheet", [*overrides, "output=x.png"]))
    assert isinstance(drawn, dict)
    assert isinstance(trained, dict)
    assert {key: drawn[key] for key in trained} == trained
    assert set(drawn) - set(trained) == {"output", "samples", "first_step"}


@pytest.mark.slow
def test_the_command_writes_a_picture_and_nothing_else(tmp_path: Path, data_folder: Path) -> None:
    arguments = ["+experiment=partial_superclass", "output=a/sheet.png", "samples=2"]
    arguments += ["cohort.phantom.subjects=6", "cohort.phantom.spacing=4.0", "cohort.workers=1"]
    arguments += ["patches.size=[32,32,32]", f"paths.data={data_folder}"]
    status, said = run_command("sheet", *arguments, cwd=tmp_path)
    assert status == 0, said
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "sheet.png"]


def test_a_training_ends_alike_with_the_loader_and_the_accelerator(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    weights = []
    for device in ("loader", "accelerator"):
        changes = ("augment=strong", f"augment.device={device}", "score=false")
        config = compose_train("+experiment=partial_mean_teacher", *changes)
        train(config, tmp_path / device)
        checkpoint = tmp_path / device / "checkpoints" / "last.ckpt"
        weights.append(torch.load(checkpoint, weights_only=True)["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
