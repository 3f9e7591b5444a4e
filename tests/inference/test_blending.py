"""Blending of windows against MONAI's sliding window, which keeps all logits in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference
from torch import Tensor, nn
from torch.nn.functional import pad

from neoseg.inference import blending
from neoseg.inference.window import WindowSettings, predict_logits, predict_pieces, predict_volume
from neoseg.networks import Head, make_head

WHOLE = (13, 18, 11)


def convolutions(head: Head, last: int = 1) -> nn.Sequential:
    """A network that sees its neighbours; its last layer has `last` voxels and reads 3 features."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1),
        nn.InstanceNorm3d(6, affine=True),
        nn.LeakyReLU(inplace=True),
        nn.Conv3d(6, 3, 3, padding=1),
        nn.Conv3d(3, head.channels, last, padding=last // 2),
    ).eval()


def volume(shape: tuple[int, ...] = WHOLE) -> Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def reference(
    network: Callable[[Tensor], Tensor], image: Tensor, head: Head, window: WindowSettings
) -> Tensor:
    """All logits at once, as MONAI blends them."""
    partners = head.space.class_mirror if head.name == "multilabel" else head.space.mirror

    def both(x: Tensor) -> Tensor:
        y = network(x)
        if window.mirror:
            y = (y + network(x.flip(2)).flip(2)[:, list(partners)]) / 2
        return y

    short = [max(p - n, 0) for p, n in zip(window.patch_size, image.shape[1:], strict=True)]
    pads = [side for s in short[::-1] for side in (s // 2, s - s // 2)]
    padded = pad(image[None], pads, mode="replicate")
    logits = sliding_window_inference(
        padded,
        window.patch_size,
        window.batch_size,
        both,
        overlap=tuple(0.0 if p == 1 else window.overlap for p in window.patch_size),
        mode=window.mode,
    )
    inside = [slice(s // 2, s // 2 + n) for s, n in zip(short, image.shape[1:], strict=True)]
    return logits[(0, slice(None), *inside)]


@pytest.mark.parametrize("deferred", [True, False])
@pytest.mark.parametrize("head_name", ["multilabel", "softmax"])
@pytest.mark.parametrize(
    ("patch", "overlap", "batch", "mode", "mirror"),
    [
        ((6, 6, 6), 0.5, 1, "gaussian", False),
        ((6, 6, 6), 0.5, 3, "gaussian", True),
        ((5, 9, 4), 0.25, 2, "constant", True),
        ((4, 6, 11), 0.0, 1, "gaussian", False),
        ((4, 7, 5), 0.9, 4, "gaussian", False),
        ((13, 18, 11), 0.5, 1, "gaussian", True),
        ((16, 6, 20), 0.5, 2, "gaussian", False),
        ((20, 20, 20), 0.5, 1, "constant", False),
        ((6, 18, 11), 0.5, 5, "gaussian", True),
    ],
)
def test_equal_to_the_reference(
    drawem9, head_name, deferred, patch, overlap, batch, mode, mirror
) -> None:
    head = make_head(head_name, drawem9)
    network = convolutions(head, last=1 if deferred else 3)
    window = WindowSettings(
        patch_size=patch,
        overlap=overlap,
        batch_size=batch,
        mode=mode,
        mirror=mirror,
        accumulate="float32",
    )
    expected = reference(network, volume(), head, window)
    found = predict_logits(network, volume(), head, window, "cpu")
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    leaves = predict_volume(network, volume(), head, window, "cpu")
    certain = head.leaf_scores(expected[None])[0].topk(2, dim=0).values.diff(dim=0)[0].abs() > 1e-4
    decided = head.decode(expected[None])[0].numpy()
    assert certain.float().mean() > 0.99
    np.testing.assert_array_equal(leaves[certain.numpy()], decided[certain.numpy()])

    half = window.model_copy(update={"accumulate": "float16"})
    rounded = predict_logits(network, volume(), head, half, "cpu")
    assert rounded.dtype == torch.float16
    # A sum of n windows is rounded n times, here up to 8 or, with an overlap of 0.9, 100 times.
    tolerance = (4e-3 if overlap <= 0.5 else 2e-2) * expected.abs().max().item()
    torch.testing.assert_close(rounded.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("shape", [(5, 5, 5), (31, 6, 7), (6, 40, 5), (7, 6, 23), (1, 9, 9)])
@pytest.mark.parametrize("whole_planes", [True, False])
def test_every_voxel_comes_once_and_in_order(drawem9, shape, whole_planes, monkeypatch) -> None:
    monkeypatch.setattr("neoseg.inference.window._BLOCK_VALUES", {"cpu": 200})
    head = make_head("softmax", drawem9)
    window = WindowSettings(patch_size=(4, 4, 4), batch_size=3)
    seen = np.zeros(shape, int)
    longest = int(np.argmax(shape))
    starts = []
    pieces = predict_pieces(
        convolutions(head), volume(shape), head, window, "cpu", whole_planes=whole_planes
    )
    for region, logits in pieces:
        seen[region] += 1
        assert logits.shape == (10, *seen[region].shape)
        starts.append(region[longest].start)
        if whole_planes:
            assert all(region[a] == slice(0, shape[a]) for a in range(3) if a != longest)
    assert (seen == 1).all()
    assert starts == sorted(starts)


@pytest.mark.parametrize(("size", "batch"), [(20, 1), (90, 1), (90, 3)])
def test_memory_does_not_grow_with_the_volume(drawem9, size, batch, monkeypatch) -> None:
    kept = []
    build = blending._Planes.like.__func__

    def spy(cls, *args):
        planes = build(cls, *args)
        kept.append(planes.sums)
        return planes

    monkeypatch.setattr(blending._Planes, "like", classmethod(spy))
    head = make_head("softmax", drawem9)
    window = WindowSettings(patch_size=(6, 6, 6), batch_size=batch)
    predict_volume(convolutions(head), volume((8, size, 9)), head, window, "cpu")
    (sums,) = kept
    assert sums.dtype == torch.float16
    # 3 features; windows of 6 planes every 3, of which there are 4 side by side.
    assert sums.numel() == 3 * 8 * 9 * (6 if batch == 1 else 9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_need_one_plane(drawem9, axis, monkeypatch) -> None:
    lengths = []
    build = blending._Planes.like.__func__

    def spy(cls, values, found, size, length, *args):
        lengths.append((found, length))
        return build(cls, values, found, size, length, *args)

    monkeypatch.setattr(blending._Planes, "like", classmethod(spy))
    head = make_head("softmax", drawem9)
    patch = [8, 8, 8]
    patch[axis] = 1
    predict_volume(
        convolutions(head), volume(), head, WindowSettings(patch_size=tuple(patch)), "cpu"
    )
    assert lengths == [(axis, 1)]


@pytest.mark.parametrize("size", [4, 5, 7, 64, 217, 290])
@pytest.mark.parametrize("patch", [1, 4, 5, 128])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.99])
def test_window_starts_are_those_of_monai(size, patch, overlap) -> None:
    if size < patch:
        with pytest.raises(ValueError, match="pad it first"):
            blending.window_starts(size, patch, overlap)
        return
    step = max(1, int(patch * (1 - overlap))) if size > patch else patch
    slices = dense_patch_slices((size,), (patch,), (step,))
    assert blending.window_starts(size, patch, overlap) == [s.start for (s,) in slices]


def test_half_precision_rounds_once_a_window() -> None:
    """As precise as adding in float32 and rounding each sum."""
    importance = compute_importance_map((4, 4, 4), mode="gaussian")
    values = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(3)) * 100

    def blend(dtype: torch.dtype) -> Tensor:
        result = torch.zeros(2, 8, 4, 4)
        pieces = blending.blend(
            lambda places: torch.stack([values + p[0] for p in places]),
            (8, 4, 4),
            importance,
            0.5,
            1,
            dtype,
            torch.device("cpu"),
            1000,
        )
        for region, mean in pieces:
            assert mean.dtype == torch.float32
            result[(slice(None), *region)] = mean
        return result

    exact, rounded = blend(torch.float32), blend(torch.float16)
    assert not torch.equal(exact, rounded)
    assert ((exact - rounded).abs() <= 3 * 2**-11 * exact.abs().clamp(min=50)).all()
