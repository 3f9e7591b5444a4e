from __future__ import annotations

import numpy as np
import pytest
import torch

from neoseg.augment.label_contrast import (
    Groups,
    LabelContrast,
    LabelContrastSettings,
    draw_label_contrast,
)
from neoseg.labels import Codebook, LabelError, LabelSpace, Protocol

SIZE = (10, 12, 14)
RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(100, 20, SIZE).astype(np.float32))
ALWAYS = LabelContrastSettings(probability=1.0)


@pytest.fixture
def book(space: LabelSpace) -> Codebook:
    """Codes 1 to 5 are BG, CSF, GM_L, GM_R, WM; then {GM_L, GM_R} and the brain."""
    merged = [Protocol.parse(space, {"name": n, "merge": [n]}) for n in ("GM", "TCV")]
    return Codebook.build(space, [s for protocol in merged for s in protocol.sets])


def draw(book: Codebook, seed: int = 0, **changes: object) -> LabelContrast:
    settings = ALWAYS.model_copy(update=changes)
    found = draw_label_contrast(
        settings, Groups.of(settings, book), np.random.default_rng(seed), SIZE
    )
    assert found is not None
    return found


PLAIN = {"noise": 0.0, "keep": 0.0, "partial_volume": 0.0, "gamma": 0.0, "invert": 0.0}


def test_each_leaf_is_a_group_and_pairs_share_one(book: Codebook) -> None:
    groups = Groups.of(ALWAYS, book)
    of = {book.sets[code]: int(group) for code, group in enumerate(groups.of_code)}
    assert of[frozenset([2])] == of[frozenset([3])] == of[frozenset([2, 3])] >= 0
    assert len({of[frozenset([k])] for k in (1, 2, 4)}) == 3
    assert of[frozenset([0])] == -1  # the background is no structure
    assert of[frozenset([2, 3, 4])] == -1
    assert of[book.space.everything] == -1


def test_named_groups_take_what_lies_within_them(book: Codebook) -> None:
    groups = Groups.of(LabelContrastSettings(groups=("TCV",)), book)
    known = {code for code in range(book.size) if groups.of_code[code] == 0}
    assert known == {c for c, s in enumerate(book.sets) if s <= {2, 3, 4}}
    with pytest.raises(LabelError, match=r"no leaf or class 'TVC'; did you mean .*'tcv'"):
        Groups.of(LabelContrastSettings(groups=("TVC",)), book)


def test_known_structures_are_painted_and_the_rest_keeps_its_order(book: Codebook) -> None:
    codes = torch.from_numpy(RNG.integers(0, book.size, SIZE).astype(np.uint8))
    found = draw(book, **PLAIN | {"gamma": 0.5}).apply(X, codes, 100.0, 20.0)
    of_code = Groups.of(ALWAYS, book).of_code
    for code in range(book.size):
        inside = codes == code
        if of_code[code] >= 0:
            assert found[inside].std() < 1e-3
            assert abs(float(found[inside].mean()) - 100) <= 1.5 * 20 + 1e-3
        else:
            order = X[inside].argsort()
            assert (found[inside][order].diff() >= -1e-3).all()
            assert found[inside].std() > 1
    means = {float(found[codes == code].mean()) for code in (2, 3, 5)}
    assert len(means) == 3
    assert torch.allclose(found[codes == 3].mean(), found[codes == 4].mean())


def test_texture_can_be_inverted(book: Codebook) -> None:
    codes = torch.zeros(SIZE, dtype=torch.uint8)
    found = draw(book, **PLAIN | {"invert": 1.0}).apply(X, codes, 100.0, 20.0)
    assert torch.allclose(found, X.max() + X.min() - X, atol=1e-3)
    kept = draw(book, **PLAIN).apply(X, codes, 100.0, 20.0)
    assert torch.allclose(kept, X, atol=1e-3)


def test_borders_are_mixed(book: Codebook) -> None:
    codes = torch.full(SIZE, 2, dtype=torch.uint8)
    codes[5:] = 5
    sharp = draw(book, **PLAIN).apply(X, codes, 100.0, 20.0)
    soft = draw(book, **PLAIN | {"partial_volume": 1.0}).apply(X, codes, 100.0, 20.0)
    low, high = sorted((float(sharp[0, 0, 0]), float(sharp[9, 0, 0])))
    assert len(sharp.unique()) == 2
    assert ((soft[4:6] > low + 0.01) & (soft[4:6] < high - 0.01)).all()
    assert torch.allclose(soft[[0, 9]], sharp[[0, 9]], atol=1e-3)


@pytest.mark.parametrize("part", ["noise", "keep"])
def test_structures_are_not_flat(part: str, book: Codebook) -> None:
    codes = torch.full(SIZE, 2, dtype=torch.uint8)
    found = draw(book, **PLAIN | {part: 0.5}).apply(X, codes, 100.0, 20.0)
    assert 0.05 < found.std() < 15


def test_probability_zero_draws_nothing(book: Codebook) -> None:
    settings = LabelContrastSettings()
    groups = Groups.of(settings, book)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert draw_label_contrast(settings, groups, rng, SIZE) is None


def test_a_patch_without_labels_or_one_voxel_thin_stays_finite(book: Codebook) -> None:
    for size in ((1, 6, 7), (1, 1, 1)):
        flat = torch.full(size, 3.0)
        for code in (0, 2):
            codes = torch.full(size, code, dtype=torch.uint8)
            settings = ALWAYS
            contrast = draw_label_contrast(
                settings, Groups.of(settings, book), np.random.default_rng(0), size
            )
            assert contrast is not None
            assert torch.isfinite(contrast.apply(flat, codes, 3.0, 1e-6)).all()
