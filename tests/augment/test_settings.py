"""What the files of `conf/augment` say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import ValidationError

from neoseg.augment.intensity import IntensitySettings
from neoseg.augment.label_contrast import LabelContrastSettings
from neoseg.augment.settings import AugmentSettings
from neoseg.configuration.nodes import register_nodes

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """Compose one file of the group, with those that it builds on."""
    register_nodes()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        content = OmegaConf.to_container(compose("train", [f"augment={name}"]).augment)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def settings(name: str) -> AugmentSettings:
    return AugmentSettings.model_validate(read(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_valid_and_says_all(name: str) -> None:
    content = read(name)
    assert set(content) == set(AugmentSettings.model_fields)
    found = AugmentSettings.model_validate(content)
    for part in ("spatial", "label_contrast", "intensity"):
        if content[part] is not None:
            assert set(content[part]) == set(type(getattr(found, part)).model_fields)


def test_basic_does_what_it_did_before_there_was_more() -> None:
    basic = settings("basic")
    assert basic.intensity == IntensitySettings(
        **{f"{part}_probability": 0.2 for part in ("bias", "gamma", "contrast")},
        **{f"{part}_probability": 0.15 for part in ("blur", "noise")},
    )
    assert basic.label_contrast == LabelContrastSettings()
    assert basic.label_contrast.probability == 0
    assert basic.torchio == ()
    assert (basic.device, basic.teacher) == ("loader", "same")


def test_strong_has_everything_and_the_others_their_part() -> None:
    strong = settings("strong")
    assert strong.intensity is not None
    chances = [v for k, v in strong.intensity.model_dump().items() if k.endswith("_probability")]
    assert all(0 < chance < 0.5 for chance in chances)
    assert strong.label_contrast is not None
    assert strong.label_contrast.probability > 0
    assert strong.device == "accelerator"
    contrast = settings("contrast")
    assert contrast.label_contrast is not None
    assert contrast.label_contrast.probability == 0.5
    assert contrast.model_copy(update={"label_contrast": settings("basic").label_contrast}) == (
        settings("basic")
    )
    assert len(settings("torchio").torchio) > 3


def test_the_teacher_has_all_of_it_or_intensities_alone() -> None:
    strong = settings("strong")
    assert strong.of_teacher is strong
    weak = IntensitySettings(noise_probability=1.0)
    own = strong.model_copy(update={"teacher": weak}).of_teacher
    assert (own.intensity, own.label_contrast, own.torchio) == (weak, None, ())
    assert own.device == "accelerator"
    assert not strong.model_copy(update={"teacher": None}).of_teacher.changes_intensities
    assert strong.changes_intensities
    assert not settings("none").changes_intensities


def test_weak_and_strong_differ_where_something_is_open() -> None:
    basic, both = settings("basic"), settings("weak_strong")
    assert both.of_student("full").intensity == basic.intensity
    for stream in ("partial", "unlabelled"):
        seen = both.of_student(stream).intensity
        assert seen == both.strong
        assert seen.noise > basic.intensity.noise  # type: ignore[union-attr]
    assert both.model_copy(update={"strong": None, "teacher": "same"}) == basic
    assert not both.of_teacher.changes_intensities


def test_what_has_no_probability_changes_nothing() -> None:
    off = {"intensity": {f"{name}_probability": 0.0 for name in ("bias", "gamma", "contrast")}}
    off["intensity"] |= dict.fromkeys(("blur_probability", "noise_probability"), 0.0)
    off["label_contrast"] = {"probability": 0.0}
    assert not AugmentSettings.model_validate(off).changes_intensities
    for more in (
        {"intensity": {**off["intensity"], "spike_probability": 0.1}},
        {"strong": {**off["intensity"], "spike_probability": 0.1}},
        {"label_contrast": {"probability": 0.1}},
        {"torchio": [{"name": "RandomNoise", "p": 0.1}]},
    ):
        assert AugmentSettings.model_validate({**off, **more}).changes_intensities
    silent = {**off, "torchio": [{"name": "RandomNoise", "p": 0.0}]}
    assert not AugmentSettings.model_validate(silent).changes_intensities


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("low_resolution", 0.5),
        ("thick_slices", 0.0),
        ("ghosting", 1.5),
        ("motion", -1.0),
        ("spike_probability", 1.1),
        ("gama", 0.1),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=key):
        AugmentSettings.model_validate({"intensity": {key: value}})
