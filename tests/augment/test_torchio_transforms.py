from __future__ import annotations

import numpy as np
import pytest
import torch
import torchio
from pydantic import ValidationError
from torchio.transforms.intensity_transform import IntensityTransform

from neoseg.augment.settings import AugmentSettings
from neoseg.augment.torchio_transforms import NAMES, TorchioTransform, apply_torchio

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
        ({"name": "RandomMotoin"}, "did you mean RandomMotion"),
        ({"name": "RandomAffine"}, "not one of TorchIO's intensity transforms"),
        ({"name": "Lambda"}, "known: Blur, Clamp"),
        ({"name": "os.system"}, "not one of TorchIO's"),
        ({"name": "RandomMotion", "degres": 3}, "no argument 'degres'; did you mean degrees"),
        ({"name": "RandomNoise", "std": "much"}, "RandomNoise: .*std"),
        ({"name": "RandomNoise", "p": 1.5}, "less than or equal to 1"),
        ({"p": 0.5}, "Field required"),
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
