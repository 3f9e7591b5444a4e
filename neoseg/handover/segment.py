"""Segment one scan with an ONNX model: python segment.py MODEL.onnx OUTPUT.nii.gz IMAGE [IMAGE].

Give the images in the order of the model's modalities, on one grid in mm; `--mask=FILE` is a brain
mask, for models that were trained with one. Needs numpy, nibabel and onnxruntime. A MONAI bundle
uses the same steps, with MONAI's sliding window in between.
"""

import json
import math
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

import nibabel as nib
import numpy as np


def read(path: str, grid: Any = None) -> Any:
    """Read one volume of numbers in canonical (RAS+) axes; return image and voxels.

    Ends the program if it is none, does not tell left from right or is not on the grid of the
    image `grid`.
    """
    stored: Any = nib.load(path)
    if stored.ndim < 3 or math.prod(stored.shape) != math.prod(stored.shape[:3]):
        sys.exit(f"{path} has shape {stored.shape}, expected one 3D volume")
    codes = [int(stored.header[n]) for n in ("sform_code", "qform_code") if n in stored.header]
    if isinstance(stored, nib.AnalyzeImage) and not any(codes):
        sys.exit(f"{path} has neither sform nor qform, so left and right are unknown")
    image: Any = nib.as_closest_canonical(stored)
    data = np.asarray(image.get_fdata(dtype=np.float32)).reshape(image.shape[:3])
    if not np.isfinite(data).all():
        sys.exit(f"{path} has voxels that are NaN or infinite; put 0 in their place")
    sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
    if not (sizes.min() >= 0.01 and sizes.max() <= 20):
        sys.exit(f"{path} has voxels of {sizes.tolist()} mm, expected 0.01 to 20")
    if grid is not None and image.shape[:3] != grid.shape[:3]:
        sys.exit(f"{path} has shape {image.shape[:3]}, and the first image {grid.shape[:3]}")
    if grid is not None and np.abs(image.affine - grid.affine).max() > 0.001:
        sys.exit(f"{path} does not lie where the first image lies; resample one to the other")
    return image, data


def usual(data: Any) -> tuple[float, float]:
    """Return the range of nearly all values."""
    sample = data.ravel()[:: max(1, data.size // (1 << 20))]
    low, high = np.percentile(sample, (0.1, 99.9))
    return float(low), float(high)


def limited(data: Any) -> Any:
    """Bring a border far from the image to its range; clip outliers one range beyond the usual."""
    inside = without_padding(data)
    low, high, (bottom, top) = inside.min(), inside.max(), usual(inside)
    if max(low - data.min(), data.max() - high) > 0.5 * (top - bottom) > 0:
        data = np.clip(data, low, high)
    low, high = usual(data)
    span = high - low
    if not span or not ((data > high + 20 * span) | (data < low - 20 * span)).any():
        return data
    return np.clip(data, np.float32(low - span), np.float32(high + span))


def without_padding(data: Any) -> Any:
    """Return a volume without the constant planes at each of its six faces."""
    box = []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        low, high = data.min(axis=others), data.max(axis=others)
        first, last = ((low == high) & (low == low[end]) for end in (0, -1))
        if (first | last).all():
            return data
        box.append(slice(int(first.argmin()), len(low) - int(last[::-1].argmin())))
    return data[tuple(box)]


def head_of(data: Any) -> Any:
    """Return where an image is above its mean, constant borders apart."""
    bright = data > without_padding(data).mean(dtype=float)
    return bright if bright.any() else data > data.mean(dtype=float)


def windowed(data: Any, window: Any) -> Any:
    """Limit intensities to the window of the training, if it has one."""
    return data if window is None else np.clip(data, *np.array(window, np.float32))


def scaled(data: Any, told: Any, inside: Any, masked: bool) -> Any:
    """Normalise the intensities of an image by the window, or its foreground `inside`."""
    how = told["normalise"]
    if how == "window":
        bottom, top = map(np.float32, told["window"])
        return (data - bottom) / (top - bottom)
    head = data[inside]
    reference = head if masked else data
    low, high = float(reference.min()), float(reference.max())
    if how == "zscore":
        mean, std = head.mean(dtype=float), head.std(dtype=float)
        std = data.std(dtype=float) if std == 0 or std < 1e-6 * (high - low) else std
        return np.clip((data - np.float32(mean)) / np.float32(std), -6e4, 6e4)
    if how == "percentile":
        content = head if masked else without_padding(data)
        low, high = float(np.percentile(content, 0.5)), float(np.percentile(head, 99.5))
    result = (data - low) / (high - low if high > low else 1e-6)
    return result if how == "minmax" and not masked else np.clip(result, 0, 1)


def matrix(old: int, new: int, smooth: bool) -> Any:
    """Return a matrix of linear interpolation, edges aligned; `smooth` adds anti-aliasing."""
    step, rows, blur = old / new, np.arange(new), np.eye(old)
    position = np.clip(rows * step + (step - 1) / 2, 0, old - 1)
    low = np.floor(position).astype(int)
    linear = np.zeros((new, old))
    np.add.at(linear, (rows, low), 1 - (position - low))
    np.add.at(linear, (rows, np.minimum(low + 1, old - 1)), position - low)
    if smooth and step > 1:
        sigma = (step - 1) / 2
        reach = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        weights = np.exp(-0.5 * (reach / sigma) ** 2)
        source = (np.arange(old)[:, None] + reach) % (2 * old)
        blur = np.zeros((old, old))
        np.add.at(
            blur,
            (np.arange(old)[:, None], np.minimum(source, 2 * old - 1 - source)),
            weights / weights.sum(),
        )
    return (linear @ blur).astype(np.float32)


def resample(data: Any, shape: Any, smooth: bool) -> Any:
    """Resample an array to another grid with the same field of view."""
    for axis, (old, new) in enumerate(zip(data.shape, shape, strict=True)):
        if old != new:
            part = np.tensordot(matrix(old, new, smooth), data, (1, axis))
            data = np.moveaxis(part, 0, axis)
    return data


def main(model: str, output: str, *paths: str, mask: str | None = None) -> None:
    """Segment one scan given its images, one per modality."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
    settings = json.loads(session.get_modelmeta().custom_metadata_map["neoseg"])
    image, location = prepared(settings, paths, mask)
    written(settings, blended(session, settings, image), location, output)


def prepared(told: Any, paths: Sequence[str], mask: str | None = None) -> Any:
    """Return the network's input [M, X, Y, Z], and its location in the scan."""
    masked = told["foreground"] == "mask"
    if len(paths) != len(told["modalities"]) or masked != (mask is not None):
        sys.exit(f"the model reads {told['modalities']}, and goes by the {told['foreground']}")
    image, first = read(paths[0])
    first = windowed(limited(first), told["window"])
    brain = read(mask, image)[1] > 0 if mask else None
    size = np.linalg.norm(image.affine[:3, :3], axis=0).round(5)
    inside, box = head_of(first) if brain is None else brain, []
    for axis, length in enumerate(first.shape):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        whole = told["crop_margin"] is None or not hit.size
        pad = 0 if whole else math.ceil(round(told["crop_margin"] / size[axis], 3))
        box.append(slice(0, length) if whole else slice(max(0, hit[0] - pad), hit[-1] + 1 + pad))
    shape = np.array(first[tuple(box)].shape)
    factor = size / (told["spacing"] or size)
    if factor.min() > 8:
        sys.exit(f"{paths[0]} has voxels of {size} mm, trained: {told['spacing']}: other units?")
    factor[np.abs(factor - 1) <= 0.01] = 1
    grid = np.maximum(1, np.rint((shape * factor).round(3))).astype(int)
    channels = []
    for path in paths:
        data = windowed(limited(read(path, image)[1]), told["window"])
        head = head_of(data) if brain is None else brain
        normalised = scaled(data, told, head, masked)[tuple(box)]
        channels.append(resample(normalised, grid, smooth=True))
    channels += [np.ones_like(channels[0])] * told["flags"]
    return np.stack(channels).astype(np.float32), (first.shape, tuple(box), shape, paths[0])


def written(told: Any, logits: Any, place: Any, output: str) -> None:
    """Decode logits [N, X, Y, Z] and write labels on the grid of the scan's first image."""
    whole, box, shape, path = place
    leaves = np.full(whole, told["background"])
    leaves[box] = decided(told, logits, shape)
    indices = np.array(told["indices"])
    labels = indices.astype(np.uint16 if indices.max() < 2**16 else np.int32)[leaves]
    native: Any = nib.load(path)
    back = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.io_orientation(native.affine)
    )
    labels = nib.orientations.apply_orientation(labels, back)
    nib.save(nib.Nifti1Image(labels, native.affine), output)


def blended(session: Any, told: Any, image: Any) -> Any:
    """Return sliding-window logits [N, X, Y, Z] of an image [M, X, Y, Z]."""
    patch, name = told["patch_size"], session.get_inputs()[0].name
    missing = [max(p - n, 0) for p, n in zip(patch, image.shape[1:], strict=True)]
    pads = [(0, 0), *((s // 2, s - s // 2) for s in missing)]
    fill = told["pad_value"]
    border = {"mode": "edge"} if fill is None else {"mode": "constant", "constant_values": fill}
    padded = np.pad(image, pads, **border)
    weight = np.ones(patch, np.float32)
    if told["mode"] == "gaussian":
        axes = [np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * (n / 8) ** 2)) for n in patch]
        product_of = axes[0][:, None, None] * axes[1][:, None] * axes[2]
        weight = np.maximum(product_of, 1e-3).astype(np.float32)
    starts = [
        [*range(0, n - p, max(1, int(p * (1 - told["overlap"])))), n - p]
        for n, p in zip(padded.shape[1:], patch, strict=True)
    ]
    total = np.zeros((told["channels"], *padded.shape[1:]), np.float32)
    count = np.zeros(padded.shape[1:], np.float32)
    for corner in product(*starts):
        region = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        window = padded[(slice(None), *region)][None]
        values = session.run(None, {name: window})[0][0]
        if told["mirror"]:
            mirrored = session.run(None, {name: window[:, :, ::-1].copy()})[0][0, :, ::-1]
            values = (values + mirrored[told["mirror"]]) / 2
        total[(slice(None), *region)] += values * weight
        count[region] += weight
    inside = (slice(b, b + n) for (b, _), n in zip(pads[1:], image.shape[1:], strict=True))
    return (total / count)[(slice(None), *inside)]


def decided(told: Any, logits: Any, shape: Any) -> Any:
    """Decode logits to leaf positions on the voxels of the scan."""
    leaves = np.array(told["leaves"], np.float32)  # [K, N], the channels of each leaf
    scores = np.tensordot(leaves, logits, 1)
    if told["decoding"] == "paper":
        allowed = leaves.astype(bool)[:, logits.argmax(axis=0)]
        scores = np.where(allowed, logits[: len(leaves)], -np.inf)
    if tuple(shape) == scores.shape[1:]:
        return scores.argmax(axis=0)
    shares = np.exp(scores - scores.max(axis=0))
    shares /= shares.sum(axis=0)
    best, leaf = np.full(shape, -1, np.float32), np.zeros(shape, int)
    for number, share in enumerate(shares):
        value = resample(share, shape, smooth=False)
        leaf[value > best] = number
        best = np.maximum(best, value)
    return leaf


if __name__ == "__main__":
    masks = [a.removeprefix("--mask=") for a in sys.argv[1:] if a.startswith("--mask=")]
    words = [a for a in sys.argv[1:] if not a.startswith("--mask=")]
    if len(words) < 3:
        sys.exit(__doc__)
    main(words[0], words[1], *words[2:], mask=masks[0] if masks else None)
