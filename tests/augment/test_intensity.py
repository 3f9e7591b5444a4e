from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, optimize

from neoseg.augment.appearance import apply_appearances, draw_appearance
from neoseg.augment.intensity import IntensitySettings
from neoseg.augment.settings import AugmentSettings

CLASSIC = ("bias", "gamma", "contrast", "blur", "noise")
ARTEFACTS = ("low_resolution", "thick_slices", "ghosting", "motion", "spike")
PARTS = (*CLASSIC, *ARTEFACTS)
NONE = {f"{part}_probability": 0.0 for part in PARTS}
OFF = dict.fromkeys(PARTS, 0.0) | {"brightness": 0.0, "low_resolution": 1.0, "thick_slices": 1.0}
IMAGE = np.random.default_rng(1).normal(2, 3, (2, 9, 10, 11)).astype(np.float32)


def changed(image: np.ndarray, settings: IntensitySettings | None, seed: int) -> np.ndarray:
    augment, rng = AugmentSettings(intensity=settings), np.random.default_rng(seed)
    drawn = draw_appearance(image, augment, None, rng)
    codes = torch.zeros(1, *image.shape[1:], dtype=torch.uint8)
    return apply_appearances(torch.from_numpy(image)[None], codes, [drawn])[0].numpy()


def augmented(image: np.ndarray, seed: int = 5, **parts: float) -> np.ndarray:
    return changed(image, IntensitySettings(**{**NONE, **parts}), seed)


def test_none_changes_nothing() -> None:
    np.testing.assert_array_equal(changed(IMAGE, None, 0), IMAGE)


def test_all_probabilities_zero_change_nothing() -> None:
    np.testing.assert_array_equal(augmented(IMAGE), IMAGE)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_changes_the_image_and_leaves_the_input(part: str) -> None:
    before = IMAGE.copy()
    view = augmented(IMAGE, **{f"{part}_probability": 1.0})
    np.testing.assert_array_equal(IMAGE, before)
    assert view.dtype == np.float32
    assert view.shape == IMAGE.shape
    for channel, original in zip(view, IMAGE, strict=True):
        assert np.abs(channel - original).max() > 0.01
    # Each channel has a draw of its own.
    same = augmented(np.stack([IMAGE[0], IMAGE[0]]), **{f"{part}_probability": 1.0})
    assert not np.array_equal(same[0], same[1])


@pytest.mark.parametrize("part", PARTS)
def test_strength_zero_is_no_change(part: str) -> None:
    view = augmented(IMAGE, **{**OFF, f"{part}_probability": 1.0})
    np.testing.assert_allclose(view, IMAGE, atol=1e-4)


def test_switching_a_part_off_leaves_the_others() -> None:
    both = augmented(IMAGE, gamma_probability=1.0, noise_probability=1.0)
    gamma = augmented(IMAGE, gamma_probability=1.0)
    noise = augmented(IMAGE, noise_probability=1.0)
    np.testing.assert_allclose(both - gamma, noise - IMAGE, atol=1e-5)


def test_gamma_keeps_range_and_order() -> None:
    view = augmented(IMAGE, gamma_probability=1.0)
    for channel, original in zip(view, IMAGE, strict=True):
        assert channel.min() == pytest.approx(original.min(), abs=1e-4)
        assert channel.max() == pytest.approx(original.max(), abs=1e-4)
        order = np.argsort(original.ravel())
        assert (np.diff(channel.ravel()[order]) >= -1e-5).all()


def test_contrast_and_brightness_stay_in_their_ranges() -> None:
    for seed in range(20):
        view = augmented(IMAGE, seed, contrast_probability=1.0, contrast=0.2, brightness=0.3)
        for channel, original in zip(view, IMAGE, strict=True):
            assert 0.8 <= channel.std() / original.std() <= 1.2
            assert abs(channel.mean() - original.mean()) <= 0.3 * original.std() + 1e-4


def test_the_bias_field_is_smooth_and_bounded() -> None:
    image = np.ones((1, 12, 12, 12), np.float32)
    image[0, 0, 0, 0] = 0
    view = augmented(image, bias_probability=1.0, bias=0.3)[0]
    gain = np.log(view.ravel()[1:])
    assert np.abs(gain).max() <= 0.3 + 1e-5
    assert np.abs(np.diff(np.log(view[1:, 5, 5]))).max() < 0.2


def test_noise_is_in_units_of_the_deviation() -> None:
    wide = augmented(IMAGE * 10, noise_probability=1.0) - IMAGE * 10
    narrow = augmented(IMAGE, noise_probability=1.0) - IMAGE
    np.testing.assert_allclose(wide, narrow * 10, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 1, 8, 9), (1, 8, 1, 9), (1, 8, 9, 1), (1, 1, 1, 1)])
def test_slices_stay_finite(shape: tuple[int, ...]) -> None:
    always = IntensitySettings(**dict.fromkeys(NONE, 1.0))
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    view = changed(image, always, 0)
    assert view.shape == shape
    assert np.isfinite(view).all()


@pytest.mark.parametrize("value", [0.0, -3.0, 1e4])
def test_a_constant_channel_stays_finite_and_nearly_constant(value: float) -> None:
    always = IntensitySettings(**dict.fromkeys(NONE, 1.0))
    image = np.full((1, 8, 8, 8), value, np.float32)
    for seed in range(10):
        view = changed(image, always, seed)
        assert np.isfinite(view).all()
        np.testing.assert_allclose(view, image, rtol=1e-4, atol=1e-4)


def test_same_seed_same_bits_whatever_the_number_of_threads() -> None:
    always = IntensitySettings(**dict.fromkeys(NONE, 1.0))
    before = torch.get_num_threads()
    try:
        views = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            views.append(changed(IMAGE, always, 7))
    finally:
        torch.set_num_threads(before)
    for view in views[1:]:
        np.testing.assert_array_equal(view, views[0])
    other = changed(IMAGE, always, 8)
    assert not np.array_equal(other, views[0])


def test_artefacts_leave_what_was_drawn_before_there_were_any() -> None:
    classic = dict.fromkeys((f"{part}_probability" for part in CLASSIC), 1.0)
    for seed in range(5):
        settings = (
            IntensitySettings(**{**NONE, **classic, f"{part}_probability": on})
            for part in ARTEFACTS
            for on in (0.0, 1.0)
        )
        draws = [
            draw_appearance(IMAGE, AugmentSettings(intensity=s), None, np.random.default_rng(seed))
            for s in settings
        ]
        for view in draws[1:]:
            for channel, first in zip(view, draws[0], strict=True):
                one, other = channel.intensity, first.intensity
                assert one is not None
                assert other is not None
                np.testing.assert_array_equal(one.bias[0], other.bias[0])  # type: ignore[index]
                assert (one.gamma, one.contrast, one.noise) == (
                    *(other.gamma, other.contrast, other.noise),
                )


def test_blur_is_that_of_scipy() -> None:
    view = augmented(IMAGE, blur_probability=1.0, blur=1.2)
    widths = np.linspace(0.3, 1, 701) * 1.2
    for channel, original in zip(view, IMAGE, strict=True):
        gaps = [np.abs(ndimage.gaussian_filter(original, w) - channel).max() for w in widths[::50]]
        near = widths[::50][int(np.argmin(gaps))]
        found = optimize.minimize_scalar(
            lambda w, o=original, c=channel: float(np.abs(ndimage.gaussian_filter(o, w) - c).max()),
            bounds=(near - 0.1, near + 0.1),
            method="bounded",
            options={"xatol": 1e-7},
        )
        assert found.fun < 1e-4


def test_parts_are_named_in_the_order_in_which_they_are_applied() -> None:
    always = IntensitySettings(**dict.fromkeys(NONE, 1.0))
    rng = np.random.default_rng(0)
    drawn = draw_appearance(IMAGE, AugmentSettings(intensity=always), None, rng)
    assert drawn[0].parts == (
        *("motion", "bias field", "gamma", "contrast"),
        *("blur", "low resolution", "thick slices", "ghosting", "spike", "noise"),
    )
