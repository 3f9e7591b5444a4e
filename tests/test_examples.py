"""The examples run, and learn from what they are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from neoseg.cohort import Plan
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.nodes import register_nodes
from neoseg.configuration.run import RunConfig

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "experiments" / "examples"
sys.path += [str(EXAMPLES), str(ROOT / "experiments" / "organs")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantom")


def test_a_plain_pytorch_loop(folder: Path) -> None:
    import pytorch_loop

    losses = pytorch_loop.main(folder, steps=12)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_monai_training(folder: Path) -> None:
    import monai_loop

    losses = monai_loop.main(folder, epochs=12)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_loss_in_nnunet_s_trainer() -> None:
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
    import nnunet_trainer
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = nnunet_trainer.nnUNetTrainerLabelSets
    assert issubclass(trainer, nnUNetTrainer)
    made = object.__new__(trainer)
    names = {"background": 0, "cGM": 1, "WM": 2, "dGM": 3, "cerebrum": 4}
    made.dataset_json, made.device = {"labels": names}, torch.device("cpu")
    loss = made._build_loss()
    target = torch.randint(0, 5, (2, 1, 8, 8, 8))
    wanted = target[:, 0].clamp(max=3)
    logits = 20.0 * torch.nn.functional.one_hot(wanted, 5).movedim(-1, 1).float()
    logits.requires_grad_()
    # White matter where the truth is "somewhere in the cerebrum" is as right as deep grey.
    other = torch.where(target[:, 0] == 4, 2, wanted)
    same = 20.0 * torch.nn.functional.one_hot(other, 5).movedim(-1, 1).float()
    value = loss([logits, logits[..., ::2, ::2, ::2]], [target, target[..., ::2, ::2, ::2]])
    value.backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad[:, 4], torch.zeros(()))
    ce = loss.objective.terms["marginal_ce"]
    assert ce is not None
    outside = torch.where(target[:, 0] == 4, 0, wanted)
    wrong = 20.0 * torch.nn.functional.one_hot(outside, 5).movedim(-1, 1).float()
    both = [loss(one, target) for one in (same, wrong)]
    assert both[0] + 0.1 < both[1]


def organs_plan(folder: Path, *words: str) -> Plan:
    import make_data

    make_data.main(folder / "data/organs", scans=4)
    register_nodes()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        conf = f"hydra.searchpath=[file://{ROOT}/experiments/organs/conf]"
        return RunConfig.parse(compose("train", [conf, *words])).plan()


def test_of_several_data_sets_each_leaves_the_organs_of_the_others_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = organs_plan(tmp_path, "+experiment=organs")
    space = plan.space
    assert {item.stream for item in plan.assignments} == {"partial"}
    assert {source.cohort.name for source in plan.sources} == {"liver", "pancreas", "spleen"}
    for source in plan.sources:
        inside = space.label_set(source.cohort.name)
        scan, item = next(iter(source.of_split("train")))
        background, *parts = source.told(scan, item.protocol)
        assert background == space.everything - inside
        assert frozenset().union(*parts) == inside
        assert all(len(part) == 1 for part in parts)


def test_the_same_data_sets_with_atlases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = organs_plan(tmp_path, "+experiment=organs_atlas")
    full = {item.cohort for item in plan.assignments if item.stream == "full"}
    assert full == {"all"}


SMALLEST = ["cohort.phantom.subjects=6", "cohort.phantom.spacing=5.0", "cohort.workers=1"]
SMALLEST += ["store.spacing=5.0", "patches.steps_per_epoch=2", "trainer.max_epochs=1"]
SMALLEST += ["patches.batch_size=2", "window.overlap=0.0"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    cells = json.loads((EXAMPLES / "first_steps.ipynb").read_text(encoding="utf-8"))["cells"]
    scope: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), scope)
            if "SETTINGS" in scope and "command" not in scope:
                scope["SETTINGS"] = [*scope["SETTINGS"], *SMALLEST]
    assert scope["told"].loc["TCV", "cGM"] == -1
    assert scope["segmentation"].shape == scope["image"].shape
    assert {"truth_ml", "dice"} <= {*scope["scores"].columns}
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert "epoch 4/4" in json.dumps(outputs)  # of the settings that the notebook shows
