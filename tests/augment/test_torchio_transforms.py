from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchio
from pydantic import ValidationError
from torchio.transforms.intensity_transform import IntensityTransform

from neoseg.augment.settings import AugmentSettings
from neoseg.augment.torchio_transforms import (
    NAMES,
    TorchioTransform,
    TransformError,
    apply_torchio,
)

IMAGE = np.random.default_rng(0).normal(size=(2, 12, 13, 14)).astype(np.float32)
NEEDED = {"Blur": {"std": 1.0}, "Clamp": {"out_min": -0.5}, "Gamma": {"gamma": 1.2}}


@pytest.mark.parametrize("name", NAMES)
def test_a_transform_is_a_function_of_its_seed(name: str) -> None:
    assert issubclass(getattr(torchio.transforms, name), IntensityTransform)
    transform = TorchioTransform(name=name, **NEEDED.get(name, {}))  # type: ignore[arg-type]
    first, done = apply_torchio(IMAGE, [transform], (1, 1, 1), 3)
    assert len(done) == 1
    assert first.dtype == np.float32
    assert first.shape == IMAGE.shape
    assert not np.array_equal(first, IMAGE)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(apply_torchio(IMAGE, [transform], (1, 1, 1), 3)[0], first)
    assert torch.equal(torch.get_rng_state(), state)  # others draw on as if nothing had been
    other, _ = apply_torchio(IMAGE, [transform], (1, 1, 1), 4)
    assert np.array_equal(other, first) != name.startswith("Random")


def test_probability_zero_is_off_and_one_is_on() -> None:
    transforms = [TorchioTransform(name="RandomNoise", p=p) for p in (0.0, 1.0)]
    assert apply_torchio(IMAGE, transforms[:1], (1, 1, 1), 0)[1] == ()
    np.testing.assert_array_equal(apply_torchio(IMAGE, transforms[:1], (1, 1, 1), 0)[0], IMAGE)
    assert apply_torchio(IMAGE, transforms[1:], (1, 1, 1), 0)[1] == ("Noise",)


@pytest.mark.parametrize("second", [0.0, 1.0])
def test_a_missing_image_does_not_keep_the_others_from_being_normalised(second: float) -> None:
    image = np.stack([IMAGE[0] + 5, np.full_like(IMAGE[0], second)])
    normal, done = apply_torchio(image, [TorchioTransform(name="ZNormalization")], (1, 1, 1), 0)
    assert done == ("ZNormalization",)
    assert abs(normal.mean()) < 1e-5
    air, done = apply_torchio(0 * image, [TorchioTransform(name="ZNormalization")], (1, 1, 1), 0)
    assert done == ()
    assert not air.any()


def test_lengths_are_in_millimetres() -> None:
    blur = [TorchioTransform(name="Blur", std=1.0)]
    fine, coarse = (apply_torchio(IMAGE, blur, [mm] * 3, 0)[0].std() for mm in (0.5, 4.0))
    assert fine < 0.5 * coarse


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "RandomMotoin"}, "; did you mean 'RandomMotion'"),
        ({"name": "RandomAffine"}, "not one of TorchIO's intensity transforms"),
        ({"name": "Lambda"}, "; it can be Blur, Clamp"),
        ({"name": "os.system"}, "not one of TorchIO's"),
        ({"name": "RandomMotion", "degres": 3}, "no argument 'degres'; did you mean 'degrees'"),
        ({"name": "RandomNoise", "std": "much"}, "RandomNoise: .*std"),
        ({"name": "RandomNoise", "p": 1.5}, "less than or equal to 1"),
        ({"p": 0.5}, "Field required"),
        ({"name": "RandomNoise", "_target_": "lab_of_transforms.Darker"}, "one of the two"),
    ],
)
def test_mistakes_are_told(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentSettings.model_validate({"torchio": [entry]})


def test_torchio_is_not_for_the_accelerator() -> None:
    raw = {"torchio": [{"name": "RandomNoise"}], "device": "accelerator"}
    with pytest.raises(ValidationError, match=r"device\n.* use augment\.device=loader"):
        AugmentSettings.model_validate(raw)


@pytest.mark.parametrize("name", ["RandomGamma", "ZNormalization", "RandomBiasField"])
def test_the_number_of_threads_changes_nothing(name: str) -> None:
    image = np.random.default_rng(0).normal(size=(1, 37, 50, 45)).astype(np.float32)
    found, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(apply_torchio(image, [TorchioTransform(name=name)], (1, 1, 1), 3)[0])
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_air_is_not_normalised() -> None:
    air = np.zeros((2, 4, 4, 4), np.float32)
    changed, done = apply_torchio(air, [TorchioTransform(name="ZNormalization")], (1, 1, 1), 3)
    np.testing.assert_array_equal(changed, air)
    assert done == ()


def test_what_moves_voxels_is_no_intensity_transform() -> None:
    with pytest.raises(ValidationError, match="'RandomSwap' is not one of"):
        TorchioTransform(name="RandomSwap")


OTHERS = """
import random
import numpy as np
import torchio

class Darker(torchio.transforms.IntensityTransform):
    def __init__(self, most=0.5, **kwargs):
        super().__init__(**kwargs)
        self.most = most

    def apply_transform(self, subject):
        share = self.most * random.random() * np.random.rand()
        for image in self.get_images(subject):
            image.set_data(image.data * (1 - share))
        return subject

class Halved(Darker):
    def apply_transform(self, subject):
        subject["image"].set_data(subject["image"].data[:, ::2])
        return subject

class Turned(torchio.transforms.RandomAffine):
    pass

def function():
    pass
"""


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of transforms that is not TorchIO's."""
    (tmp_path / "lab_of_transforms").mkdir()
    (tmp_path / "lab_of_transforms" / "transforms.py").write_text(OTHERS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lab_of_transforms", "lab_of_transforms.transforms"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def of_others(name: str, **arguments: object) -> AugmentSettings:
    raw = {"_target_": f"lab_of_transforms.transforms.{name}", **arguments}
    return AugmentSettings.model_validate({"torchio": [{"name": "RandomNoise"}, raw]})


@pytest.mark.usefixtures("others")
def test_a_transform_of_another_package_is_imported_at_its_first_patch() -> None:
    settings = of_others("Darker", most=0.9)
    assert settings.targets == ("lab_of_transforms.transforms.Darker",)
    assert settings.changes_intensities
    assert "lab_of_transforms.transforms" not in sys.modules
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    images = [apply_torchio(IMAGE, settings.torchio[1:], (1, 1, 1), seed) for seed in (3, 3, 2**63)]
    assert images[0][1] == ("Darker",)
    np.testing.assert_array_equal(images[0][0], images[1][0])
    assert not np.array_equal(images[0][0], images[2][0])
    assert not np.array_equal(images[0][0], IMAGE)
    after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    assert before == after


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("function", {}, r"is no subclass of torchio\.Transform"),
        ("random", {}, r"is no subclass of torchio\.Transform"),
        ("Turned", {}, "moves voxels"),
        ("Brighter", {}, "cannot be imported .*Brighter"),
        ("Darker", {"mots": 1}, "no argument 'mots'; did you mean 'most'"),
        ("Halved", {}, r"made \(2, 6, 13, 14\) of a patch \(2, 12, 13, 14\)"),
    ],
)
def test_what_is_no_transform_of_intensities_is_said_at_the_first_patch(
    name: str, arguments: dict[str, object], message: str
) -> None:
    settings = of_others(name, **arguments)
    with pytest.raises(TransformError, match=message):
        apply_torchio(IMAGE, settings.torchio, (1, 1, 1), 0)
