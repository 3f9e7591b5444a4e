"""What cannot work stops before any work, and names the nearest that can."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from neoseg.commands.prepare import PrepareConfig
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.overrides import explain_arguments
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.store import DataError

Make = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def base() -> DictConfig:
    """The composed defaults, which are copied: composing anew takes much longer."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train")


def changed(base: DictConfig, changes: dict[str, Any]) -> DictConfig:
    """A copy with other values, also under keys that are not there, as a YAML file could give."""
    config = copy.deepcopy(base)
    OmegaConf.set_struct(config, False)
    for key, value in changes.items():
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    return config


def wrong(config: DictConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("patches.sise=[32,32,32]", "'patches.size'"),
        ("batch_size=4", "'patches.batch_size'"),
        ("patchs.size=[8,8,8]", "'patches.size'"),
        ("trainer.max_epoch=3", "'trainer.max_epochs'"),
        ("loss.iuc.wieght=2", "'loss.iuc.weight'"),
        ("annotation.protocol.mrge=[TCV]", "'annotation.protocol.merge'"),
        ("cohort.phantom.subject=3", "'cohort.phantom.subjects'"),
        ("cohort.phantom.quux=3", "it can be "),
        ("optimizer.learning_rate=1", "it can be "),
        ("netwrok=unet3d", "'network'"),
        ("network=unet4d", "'unet2d'"),
        ("loss=[iuc,mean_techer]", "'mean_teacher'"),
        ("cohort=dhpc", "'dhcp'"),
        ("+experiment=partial_superclas", "'partial_superclass'"),
        ("experiment=partial_superclass", "+experiment=partial_superclass"),
        ("seed", "write key=value"),
        ("patches.size=[32,32", "cannot be read"),
        ("teacher=null", "'~teacher'"),
        ("-m network=unet3d,unet4d seed=0,1", "'unet2d'"),
        ("-m seed=0,1 patches.sise=3", "'patches.size'"),
        ("--cfg job patches.sise=3", "'patches.size'"),
    ],
)
def test_command_lines_that_do_not_compose(arguments: str, hint: str) -> None:
    told = explain_arguments("train", arguments.split())
    assert told is not None
    assert hint in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("labels=own labels.nam=a", "'labels.name'"),
        ("labels=own", None),
    ],
)
def test_options_of_ones_own_are_known(arguments: str, hint: str | None, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    shutil.copy(CONFIG_DIR / "labels" / "hippocampus.yaml", tmp_path / "labels" / "own.yaml")
    told = explain_arguments("train", ["--config-dir", str(tmp_path), *arguments.split()])
    assert told is None if hint is None else hint in str(told)


@pytest.mark.parametrize("option", ["loss/focal.yaml", "network/unet3d.yaml"])
def test_an_option_that_another_hides_is_told(option: str, tmp_path: Path) -> None:
    (tmp_path / option).parent.mkdir()
    (tmp_path / option).write_text("a: 1\n")
    told = explain_arguments("train", ["--config-dir", str(tmp_path)])
    assert told is not None
    assert f"{tmp_path / option}: neoseg has a" in told


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "+experiment=partial_superclass seed=3",
        "-m +experiment=supervised,mean_teacher annotation.draw=0,1,2",
        "-m seed=range(3) patches.size=[32,32,32],[48,48,48]",
        "--help patches.sise=3",
        "--config-dir somewhere labels=mine",
        "cohort=dhcp cohort.root=/data ~teacher",
    ],
)
def test_command_lines_that_compose(arguments: str) -> None:
    assert explain_arguments("train", arguments.split()) is None


@pytest.mark.parametrize(
    ("name", "arguments", "hint"),
    [
        ("train", "cohort=dhcp", "cohort.root is not set"),
        ("train", "cohort=dhcp --cfg job", None),
        ("train", "cohort=dhcp resume=runs/a", None),
        ("phantom", "", "output is not set"),
        ("evaluate", "run=[a,b]", "run names several, and evaluate takes one"),
        ("predict", "run=a", "input is not set"),
    ],
)
def test_values_that_have_to_be_given(name: str, arguments: str, hint: str | None) -> None:
    told = explain_arguments(name, arguments.split())
    assert told is None if hint is None else hint in str(told)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("on_errors", "'on_error'"), ("cohort.phantum", "'phantom'"), ("cohort.labls", "'labels'")],
)
def test_prepare_knows_its_keys(key: str, hint: str) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("prepare", [f"+{key}=1"])
    with pytest.raises(ConfigError, match=hint):
        PrepareConfig.parse(config)


@pytest.mark.parametrize(("name", "key"), [("prepare", "verrify"), ("evaluate", "picture")])
def test_other_commands_have_nearest_names_too(name: str, key: str) -> None:
    told = explain_arguments(name, [f"{key}=1"])
    assert told is not None
    assert "did you mean" in told


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("+experiment=label_set_mean_teacher",),
        ("+experiment=paper_2d", "patches.size=[1,64,64]"),
        ("cohort=dhcp", "cohort.root=/data"),
        ("cohort=bids", "cohort.root=/data", "labels=fidon8", "annotation=full"),
        (
            *("network=unet3d_large", "optimizer=sgd", "trainer=cpu", "recipe=pseudo_label"),
            "patches.size=[64,64,64]",
        ),
    ],
)
def test_what_works_passes(overrides: tuple[str, ...], compose_train: Make) -> None:
    RunConfig.parse(compose_train(*overrides))


@pytest.mark.parametrize(
    ("key", "value", "hints"),
    [
        # keys that YAML can carry past Hydra
        ("patches.sise", 3, ["patches.sise", "'size'"]),
        ("patches.batchsize", 3, ["patches.batchsize", "'batch_size'"]),
        ("augment.intensity.gama", 1, ["augment.intensity.gama", "'gamma'"]),
        ("anotation", 1, ["'anotation'", "'annotation'"]),
        ("trainer.max_epoch", 1, ["trainer.max_epoch", "'max_epochs'"]),
        ("cohort.exclud", ["a"], ["cohort.exclud", "'exclude'"]),
        ("cohort.phantom.noize", 1, ["cohort.phantom.noize", "'noise'"]),
        ("loss.iuc.wieght", 2, ["wieght", "'weight'"]),
        ("network.net.chanels", [8], ["chanels", "'channels'"]),
        ("annotation.protocol.mergee", ["TCV"], ["mergee", "'merge'"]),
        # values of the wrong kind
        ("patches.batch_size", "many", ["patches.batch_size", "integer"]),
        ("patches.size", [32, 32], ["patches.size"]),
        ("patches.size", 32, ["patches.size"]),
        ("patches.size", [0, 32, 32], ["patches.size", "greater than 0"]),
        ("loss.iuc.weight", "heavy", ["loss.iuc.weight", "heavy"]),
        ("loss.iuc.weight", -1, ["loss.iuc.weight"]),
        ("annotation.full_fraction", 2, ["annotation.full_fraction"]),
        ("trainer.max_epochs", "ten", ["trainer.max_epochs", "ten"]),
        ("trainer.devices", None, ["trainer.devices"]),
        ("seed", -1, ["seed"]),
        ("head", "sigmoid", ["head", "multilabel"]),
        ("predict_with", "techer", ["predict_with"]),
        ("optimizer.lr", "fast", ["optimizer.lr"]),
        ("window.overlap", 2, ["window.overlap"]),
        ("split.fractions", [0.5, 0.5, 0.5], ["add up to 1.5"]),
        ("store.normalise", "zcore", ["store.normalise", "zscore"]),
        ("on_error", "ignore", ["on_error", "skip"]),
        # combinations
        ("loss", {"leaf_dice": {}}, ["leaf_dice", "softmax"]),
        ("head", "softmax", ["iuc", "multilabel"]),
        ("predict_with", "teacher", ["teacher.always=true"]),
        ("predict_with", "peer", ["cross_pseudo"]),
        ("patches.size", [32, 32, 40], ["32 or 48"]),
        ("patches.size", [16, 16, 16], ["single voxel"]),
        ("patches.size", [1, 32, 32], ["3D"]),
        ("patches.mix", {"full": 0, "partial": 0, "unlabelled": 0}, ["patches.mix", "nothing"]),
        ("patches.mix", {"ful": 1}, ["patches.mix", "full, partial, unlabelled"]),
        ("cohort.phantom.subjects", 2, ["cohort.phantom.subjects", "3 parts"]),
        ("cohort.max_subjects", 1, ["cohort.max_subjects"]),
        ("annotation.protocol.merge", ["TVC"], ["TVC", "'tcv'", "choose annotation=full"]),
        ("annotation.protocol.merge", ["cGM"], ["single leaf"]),
        ("cohort.root", "???", ["cohort.root is not set"]),
    ],
)
def test_what_cannot_work_is_told(key: str, value: Any, hints: list[str], base: DictConfig) -> None:
    told = wrong(changed(base, {key: value}))
    for hint in hints:
        assert hint in told


@pytest.mark.parametrize("size", [32, [0, 32, 32]])
def test_a_wrong_patch_is_told_once(size: Any, base: DictConfig) -> None:
    told = wrong(changed(base, {"patches.size": size}))
    assert "problems" not in told
    assert "window" not in told


def test_a_teacher_term_needs_teacher_settings(base: DictConfig) -> None:
    config = changed(base, {"loss": {"iuc": {}, "mean_teacher": {}}})
    del config["teacher"]
    told = wrong(config)
    assert "mean_teacher compares" in told
    assert "teacher=ema" in told


def test_a_term_that_asks_how_sure_the_teacher_is_needs_dropout(base: DictConfig) -> None:
    changes: dict[str, Any] = {"loss": {"iuc": {}, "uncertainty_teacher": {}}}
    told = wrong(changed(base, changes))
    assert "uncertainty_teacher asks how sure the teacher is" in told
    assert "network.net.dropout=0.1" in told
    for cure in ("network.net.dropout", "teacher.passes"):
        value = 0.1 if cure.endswith("dropout") else 0
        RunConfig.parse(changed(base, {**changes, cure: value}))


def test_everything_is_told_at_once(base: DictConfig) -> None:
    changes = {"patches.batch_size": "many", "head": "softmax", "trainer.max_epoch": 1, "foo": 1}
    told = wrong(changed(base, changes))
    assert "4 problems" in told
    for part in ("patches.batch_size", "loss 'iuc'", "max_epochs", "'foo'"):
        assert part in told


def test_a_key_in_an_experiment_file_is_found(base: DictConfig) -> None:
    config = changed(base, {})
    config.merge_with({"patches": {"sise": [32, 32, 32]}, "nam": "x"})
    told = wrong(config)
    assert "patches.sise" in told
    assert "'nam'; did you mean 'name'" in told


EXPERIMENTS = ("label_set_mean_teacher", "partial_cross_pseudo", "partial_fixmatch", "pseudo_label")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_pass(name: str, compose_train: Make) -> None:
    RunConfig.parse(compose_train(f"+experiment={name}"))


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        (["patches.mix={full:0,partial:1,unlabelled:1}", "annotation=full"], r"patches\.mix"),
        (["patches.batch_size=1"], r"raise it to 2"),
    ],
)
def test_streams_without_scans_stop_before_the_store(
    overrides: list[str], hint: str, compose_train: Make
) -> None:
    config = compose_train(*overrides)
    run = RunConfig.parse(config)
    with pytest.raises(DataError, match=hint):
        run.plan()


@pytest.mark.parametrize("key", ["early_stopping=3", "checkpoint.best=true"])
def test_what_looks_at_the_validation_needs_scans_for_it(key: str, compose_train: Make) -> None:
    config = compose_train(key, "split.fractions=[0.8,0.0,0.2]")
    run = RunConfig.parse(config)
    with pytest.raises(ConfigError, match=rf"no scan is in val.*{key.split('=')[0]}"):
        run.plan()


@pytest.mark.parametrize(
    ("overrides", "warned"), [(["labels=drawem87", "annotation=full"], True), ([], False)]
)
def test_classes_that_no_annotation_tells_are_named(
    overrides: list[str], warned: bool, compose_train: Make, caplog: pytest.LogCaptureFixture
) -> None:
    # Files of the 9 tissues tell nothing about the single structures of the 87.
    config = compose_train(*overrides)
    RunConfig.parse(config).plan()
    assert ("no protocol annotates" in caplog.text) is warned
