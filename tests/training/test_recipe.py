from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import nibabel as nib
import numpy as np
import pytest
import torch
from interruption import Killed, assert_same, assert_same_runs, die_at
from omegaconf import DictConfig
from pydantic import ValidationError
from tiny_run import load_module, train

from neoseg.cohort.annotation import read_plan
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.inference.trained import TrainedNetwork
from neoseg.inference.window import predict_logits
from neoseg.labelling.atlas import AtlasLabeller
from neoseg.labelling.pseudo import PseudoLabeller
from neoseg.patches.volumes import VolumeDataset
from neoseg.runs.stage import run_stage
from neoseg.training.module import SegmentationModule
from neoseg.training.recipe import RecipeSettings, Stage, before, stages_of

COMMON = ("loss=[iuc]", "annotation.full_fraction=0.4")


def state(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


class TestStages:
    def test_single(self) -> None:
        assert stages_of(RecipeSettings(kind="single")) == (Stage(1, True, "all", None, False),)

    def test_the_paper(self) -> None:
        stages = stages_of(RecipeSettings(kind="pseudo_label", epochs=5))
        assert stages == (Stage(1, False, "full", None, False), Stage(2, True, "all", 5, True))

    def test_improved(self) -> None:
        settings = RecipeSettings(kind="pseudo_label", teacher="partial", rounds=3)
        stages = stages_of(settings)
        assert [s.data for s in stages] == ["all"] * 4
        assert [s.predicts for s in stages] == [False, True, True, True]
        assert [s.last for s in stages] == [False, False, False, True]

    def test_atlases_need_no_training_before(self, tmp_path: Path) -> None:
        (only,) = stages_of(RecipeSettings(kind="pseudo_label", teacher="atlas"))
        assert only == Stage(1, True, "all", None, True)
        assert only.folder(tmp_path) == tmp_path
        assert before(only, (only,)) == ()
        settings = RecipeSettings(kind="pseudo_label", teacher="atlas", rounds=2, epochs=3)
        first, last = stages_of(settings)
        assert (first, last) == (Stage(1, False, "all", None, True), Stage(2, True, "all", 3, True))
        assert before(last, (first, last)) == (first,)

    def test_an_ensemble_is_more_stages_before_the_last(self, tmp_path: Path) -> None:
        settings = RecipeSettings(kind="pseudo_label", ensemble=2, rounds=2, epochs=5)
        stages = stages_of(settings)
        assert [(s.name, s.last, s.epochs) for s in stages] == [
            ("1", False, None),
            ("1-2", False, None),
            ("2", False, 5),
            ("2-2", False, 5),
            ("3", True, 5),
        ]
        assert [s.folder(tmp_path).name for s in stages[:-1]] == ["1", "1-2", "2", "2-2"]
        assert stages[-1].folder(tmp_path) == tmp_path
        assert [[b.name for b in before(s, stages)] for s in stages] == [
            *([], [], ["1", "1-2"], ["1", "1-2"]),
            ["2", "2-2"],
        ]
        # An ensemble trains on one set of pseudo-labels, on patches of its own.
        assert stages[2].pseudo_labels(tmp_path) == stages[3].pseudo_labels(tmp_path)
        firsts = [s.first_step(100) for s in stages]
        assert len(set(firsts)) == 5
        assert all(first % 100 == 0 for first in firsts)
        assert stages[0].initial_seed(7) == stages[2].initial_seed(7) == 7
        assert stages[1].initial_seed(7) == stages[3].initial_seed(7) != 7
        assert stages[1].initial_seed(7) != stages[1].initial_seed(8)

    def test_places(self, tmp_path: Path) -> None:
        first, last = stages_of(RecipeSettings(kind="pseudo_label"))
        assert first.folder(tmp_path) == tmp_path / "stages" / "1"
        assert last.folder(tmp_path) == tmp_path
        assert first.pseudo_labels(tmp_path) is None
        assert last.pseudo_labels(tmp_path) == tmp_path / "stages" / "2" / "codes"
        assert first.first_step(100) == 0
        assert last.first_step(100) % 100 == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"kind": "self_training"},
            {"kind": "single", "rounds": 2},
            {"kind": "pseudo_label", "rounds": 0},
            {"kind": "pseudo_label", "min_confidence": 2},
            {"kind": "pseudo_label", "round": 1},
            {"kind": "pseudo_label", "ensemble": 0},
            {"kind": "single", "ensemble": 2},
            {"kind": "pseudo_label", "teacher": "atlas", "ensemble": 2},
            {"kind": "pseudo_label", "atlases": 0},
        ],
    )
    def test_wrong_settings(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            RecipeSettings.model_validate(wrong)


@pytest.fixture(scope="module")
def finished() -> dict[str, Path]:
    """Runs that are done, by name."""
    return {}


@pytest.fixture
def pseudo_run(
    configured: Callable[..., DictConfig],
    finished: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run of the paper's recipe."""
    if "paper" not in finished:
        folder = tmp_path_factory.mktemp("paper")
        train(configured("pseudo_label", *COMMON, "recipe.epochs=1"), folder)
        finished["paper"] = folder
    return finished["paper"]


def test_the_first_stage_is_the_supervised_arm(
    pseudo_run: Path, configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(configured("supervised", *COMMON, "head=multilabel"), tmp_path)
    teacher = pseudo_run / "stages" / "1" / "checkpoints" / "last.ckpt"
    assert_same(state(teacher), state(tmp_path / "checkpoints" / "last.ckpt"))


def test_every_stage_trains_as_long_as_it_should(pseudo_run: Path) -> None:
    assert json.loads((pseudo_run / "stages" / "1" / "done.json").read_text())["steps"] == 8
    assert json.loads((pseudo_run / "run.json").read_text())["steps"] == 4
    assert load_module(pseudo_run).network is not None


def test_any_network_of_a_run_can_be_asked_to_predict(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(configured("partial_mean_teacher", "trainer.max_epochs=1"), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["predict_with"] == "teacher"
    assert load_module(tmp_path).predict_with == "teacher"
    module = load_module(tmp_path)
    assert module.teacher is not None
    for name, own in (("student", module.network), ("teacher", module.teacher.average.module)):
        network = TrainedNetwork.load(tmp_path, "cpu", name).network
        assert_same(dict(network.state_dict()), dict(own.state_dict()))
    with pytest.raises(ConfigError, match="predict_with is 'peer', but this run has none"):
        TrainedNetwork.load(tmp_path, "cpu", "peer")


def test_pseudo_labels_are_the_teacher_s_inside_the_label_sets(pseudo_run: Path) -> None:
    teacher = load_module(pseudo_run / "stages" / "1")
    space = teacher.space
    tcv = space.label_set("TCV")
    plan = [a for a in read_plan(pseudo_run / "annotation.csv") if a.split == "train"]
    partial = sorted(f"sub-{a.subject}_ses-{a.session}" for a in plan if a.stream == "partial")
    root = pseudo_run / "stages" / "2" / "codes"
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    assert [folder.name for folder in folders] == partial
    for folder in folders:
        codes = np.asarray(blosc2.open(str(folder / "codes.b2nd"))[:])
        confidence = np.asarray(blosc2.open(str(folder / "confidence.b2nd"))[:])
        assert 1 <= codes.min() <= codes.max() <= space.num_leaves
        predicted = confidence < 255
        assert predicted.any()
        assert np.isin(codes[predicted] - 1, sorted(tcv)).all()


def test_they_are_written_for_people(pseudo_run: Path, data_folder: Path) -> None:
    output = pseudo_run / "pseudo_labels"
    assert (output / "dataset_description.json").is_file()
    assert (output / "desc-neoseg_dseg.tsv").is_file()
    found = sorted(output.rglob("*_desc-neoseg_dseg.nii.gz"))
    assert found
    for path in found:
        name = path.name.removesuffix("_desc-neoseg_dseg.nii.gz")
        (source,) = data_folder.rglob(f"{name}_desc-restore_T2w.nii.gz")
        (truth,) = data_folder.rglob(f"{name}_desc-drawem9_dseg.nii.gz")
        image, labels = nib.load(source), nib.load(path)
        assert labels.shape == image.shape
        assert np.allclose(labels.affine, image.affine)
        values, known = np.asarray(labels.dataobj), np.asarray(nib.load(truth).dataobj)
        children = [2, 3, 7]
        # Cropping leaves out background only.
        outside = ~np.isin(known, children)
        assert np.array_equal(values[outside], known[outside])
        assert np.isin(values[~outside], children).all()
        (confidence,) = output.rglob(f"{name}_desc-confidence_probseg.nii.gz")
        share = nib.load(confidence).get_fdata()
        assert 0 <= share.min() <= share.max() <= 1 + 1e-6  # the header's scale is float32
        assert (share[~outside] >= 1 / 3 - 0.01).all()


def test_the_second_stage_goes_on_from_the_same_weights(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = SegmentationModule.training_step, []

    def watched(self: SegmentationModule, batch: Any, number: int) -> Any:
        if (tmp_path / "stages" / "1" / "done.json").is_file() and not seen:
            seen.append({k: v.clone() for k, v in self.state_dict().items()})
            seen.append(set(batch.stream.tolist()))
        return plain(self, batch, number)

    monkeypatch.setattr(SegmentationModule, "training_step", watched)
    train(configured("pseudo_label", *COMMON, "teacher.always=true"), tmp_path)
    weights, streams = seen
    assert_same(weights, dict(state(tmp_path / "stages" / "1" / "checkpoints" / "last.ckpt")))
    assert any(name.startswith("teacher.") for name in weights)
    assert streams == {0, 1}


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (SegmentationModule, "training_step", 5),
        (PseudoLabeller, "predict", 1),
        (SegmentationModule, "training_step", 8),
        (SegmentationModule, "training_step", 10),
    ],
)
def test_resumed_at_every_stage(
    owner: type,
    method: str,
    call: int,
    configured: Callable[..., DictConfig],
    pseudo_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ("pseudo_label", *COMMON, "recipe.epochs=1", "checkpoint.every_steps=1")
    with monkeypatch.context() as context:
        die_at(method, call, owner, context)
        with pytest.raises(Killed):
            train(configured(*settings), tmp_path)
    train(configured(*settings), tmp_path)
    assert_same_runs(pseudo_run, tmp_path)
    assert_same_runs(pseudo_run / "stages" / "1", tmp_path / "stages" / "1")


def test_atlases_label_before_the_only_training(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run that is killed while they do goes on to the same weights."""
    settings = (
        *("partial_superclass", "trainer.max_epochs=1", "annotation.full_fraction=0.4"),
        "recipe.min_confidence=0.6",
    )
    train(configured(*settings), tmp_path / "one")
    with monkeypatch.context() as context:
        die_at("predict", 1, AtlasLabeller, context)
        with pytest.raises(Killed):
            train(configured(*settings), tmp_path / "two")
    train(configured(*settings), tmp_path / "two")
    assert_same_runs(tmp_path / "one", tmp_path / "two")
    module = load_module(tmp_path / "one")
    (open_code,) = np.flatnonzero(module.codebook.rows.sum(1) == 3)
    folders = [p for p in (tmp_path / "one" / "stages" / "1" / "codes").iterdir() if p.is_dir()]
    shares = []
    for folder in folders:
        codes = np.asarray(blosc2.open(str(folder / "codes.b2nd"))[:])
        confidence = np.asarray(blosc2.open(str(folder / "confidence.b2nd"))[:])
        assert (confidence[codes == open_code] <= 0.6 * 255 + 1).all()
        shares.append((codes == open_code).sum() / np.isin(codes, [3, 4, 8, open_code]).sum())
    assert folders
    assert 0 < min(shares) <= max(shares) < 0.9, "some voxels are decided, and some left open"


def test_a_registration_with_little_to_go_by_is_told(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One small structure in a head; neither the outline of most of it, nor nothing at all."""
    drawn_not = "annotation.protocol.missing=[CSF,cGM,WM,BKG,VENT,BS,CBM,dGM]"
    for settings, told in (
        (["annotation.unlabelled_fraction=0.4", "patches.batch_size=3"], False),
        (["annotation.protocol.merge=[]", drawn_not], True),
    ):
        config = configured("partial_superclass", *settings)
        die_at("predict", 1, AtlasLabeller, monkeypatch)
        caplog.clear()
        with pytest.raises(Killed):
            train(config, tmp_path / str(told))
        assert ("registration has little to go by" in caplog.text) == told


@pytest.mark.parametrize(
    ("experiment", "more", "told"),
    [
        ("label_set", [], "Leave them out, patches.mix.unlabelled=0,"),
        ("label_set", ["patches.mix=null"], "Leave them out, 'patches.mix={full: 1, partial: 1}'"),
        ("label_set", ["patches.mix.unlabelled=0"], ""),
        ("partial_mean_teacher", [], ""),
    ],
)
def test_scans_without_labels_that_no_loss_learns_from_are_told(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    experiment: str,
    more: list[str],
    told: str,
) -> None:
    settings = ["annotation.unlabelled_fraction=0.4", "patches.batch_size=3", *more]
    train(configured(experiment, *settings, "trainer.max_epochs=1", "score=false"), tmp_path)
    assert told in caplog.text
    assert ("patches are drawn from them in vain" in caplog.text) == bool(told)


def test_atlases_need_somebody_who_is_drawn_in_full(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = configured("partial_superclass")
    run = RunConfig.parse(config)
    plan = run.plan().keeping(lambda item: item.stream != "full" or item.split != "train")
    stage = stages_of(run.recipe)[0]
    with pytest.raises(ConfigError, match="at least one fully labelled training scan"):
        run_stage(run, tmp_path, plan, stage, ())


def test_rounds_of_a_partial_teacher(configured: Callable[..., DictConfig], tmp_path: Path) -> None:
    settings = ("partial_pseudo_label", "recipe.rounds=2", "recipe.min_confidence=0.35")
    train(configured(*settings, "trainer.max_epochs=1"), tmp_path)
    teacher = load_module(tmp_path / "stages" / "1")
    open_codes = np.flatnonzero(teacher.codebook.rows.sum(1) > 1)
    for number in (2, 3):
        folders = [p for p in (tmp_path / "stages" / str(number) / "codes").iterdir() if p.is_dir()]
        assert folders
        for folder in folders:
            codes = np.asarray(blosc2.open(str(folder / "codes.b2nd"))[:])
            confidence = np.asarray(blosc2.open(str(folder / "confidence.b2nd"))[:]) / 255
            unsure = np.isin(codes, open_codes)
            assert unsure.any() or confidence.min() > 0.34
            assert (confidence[unsure] < 0.36).all()
            assert (confidence[~unsure] > 0.34).all()
    one, two = (
        tmp_path / "stages" / str(number) / "checkpoints" / "last.ckpt" for number in (1, 2)
    )
    assert not torch.equal(*(next(iter(state(path).values())) for path in (one, two)))


ENSEMBLE = (
    *("partial_pseudo_label", *COMMON, "recipe.ensemble=2", "recipe.epochs=1"),
    "trainer.max_epochs=1",
)


@pytest.fixture
def ensemble_run(
    configured: Callable[..., DictConfig],
    finished: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run whose first stage is two networks."""
    if "ensemble" not in finished:
        folder = tmp_path_factory.mktemp("ensemble")
        train(configured(*ENSEMBLE), folder)
        finished["ensemble"] = folder
    return finished["ensemble"]


def test_the_networks_of_an_ensemble_differ_and_the_first_is_that_of_one_alone(
    ensemble_run: Path, configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(configured("partial_iuc", *COMMON, "trainer.max_epochs=1"), tmp_path)
    first, second = (
        state(ensemble_run / "stages" / name / "checkpoints" / "last.ckpt") for name in ("1", "1-2")
    )
    assert_same(first, state(tmp_path / "checkpoints" / "last.ckpt"))
    assert not any(torch.equal(first[k], second[k]) for k in first if k.endswith("weight"))


def test_the_mean_probability_of_an_ensemble_decides(
    ensemble_run: Path, configured: Callable[..., DictConfig]
) -> None:
    teachers = [load_module(ensemble_run / "stages" / name) for name in ("1", "1-2")]
    space = teachers[0].space
    run = RunConfig.parse(configured(*ENSEMBLE))
    data = run.data(run.plan(), with_teacher=False)
    data.setup()
    root = ensemble_run / "stages" / "2" / "codes"
    children = sorted(space.label_set("TCV"))
    merged = teachers[0].codebook.code(frozenset(children))
    compared = 0
    for number, scan in enumerate(data.train):
        if not (root / scan.entry.scan.id).is_dir():
            continue
        sample = VolumeDataset(data.train)[number]
        mean = torch.stack(
            [
                predict_logits(
                    t.eval().predictor, sample.image, t.head, t.spec.window, "cpu"
                ).sigmoid()
                for t in teachers
            ]
        ).mean(0)
        # All children share their super-class: the most probable channel wins, ties aside.
        best, second = mean[children].topk(2, dim=0).values
        clear = (sample.codes == merged) & (best - second > 1e-5 * best)
        expected = torch.tensor(children)[mean[children].argmax(0)] + 1
        codes = torch.from_numpy(blosc2.open(str(root / scan.entry.scan.id / "codes.b2nd"))[:])
        assert torch.equal(codes[clear].long(), expected[clear])
        compared += int(clear.sum())
    assert compared > 100


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (SegmentationModule, "training_step", 6),  # of the second network
        (PseudoLabeller, "predict", 1),
        (SegmentationModule, "training_step", 10),
    ],
)
def test_an_ensemble_is_resumed(
    owner: type,
    method: str,
    call: int,
    configured: Callable[..., DictConfig],
    ensemble_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = (*ENSEMBLE, "checkpoint.every_steps=1")
    with monkeypatch.context() as context:
        die_at(method, call, owner, context)
        with pytest.raises(Killed):
            train(configured(*settings), tmp_path)
    train(configured(*settings), tmp_path)
    for name in (".", "stages/1", "stages/1-2"):
        assert_same_runs(ensemble_run / name, tmp_path / name)


def test_each_network_of_an_ensemble_goes_on_from_its_own_weights(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = SegmentationModule.on_train_start, []

    def watched(self: SegmentationModule) -> None:
        seen.append({k: v.clone() for k, v in self.state_dict().items()})
        plain(self)

    monkeypatch.setattr(SegmentationModule, "on_train_start", watched)
    train(configured(*ENSEMBLE, "recipe.rounds=2", "patches.steps_per_epoch=1"), tmp_path)
    stages = stages_of(RecipeSettings(kind="pseudo_label", ensemble=2, rounds=2))
    assert len(seen) == len(stages)
    goes_on = {2: "1", 3: "1-2", 4: "2"}
    for number, name in goes_on.items():
        earlier = state(tmp_path / "stages" / name / "checkpoints" / "last.ckpt")
        assert_same(seen[number], dict(earlier))
