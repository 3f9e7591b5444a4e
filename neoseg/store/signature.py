"""What an image shows, in four kilobytes: to know one again that was scaled or resampled.

Measured on the phantom and on scans of heads, brains and hippocampi: other people have correlations
of at most 0.81 (templates of neighbouring weeks of one population 0.95), an image with itself after
a change of units, an offset or a change of voxel size by 1.5 at least 0.97.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from neoseg.store.foreground import head_of
from neoseg.store.volume import Volume

POINTS = 16
"""Along each axis of the lattice on which images are compared."""

REACH = 1.6
"""Half of the lattice's width, in standard deviations of the places that are bright."""

ALIKE = 0.96
"""Correlation from which two images are one."""


def signature_of(volume: Volume) -> str:
    """Return what differs from its surroundings, on a lattice around the head in millimetres.

    Neither units nor an offset of the intensities, nor voxel size, axes and origin matter much.
    """
    inside = np.argwhere(head_of(volume.data)) @ volume.affine[:3, :3].T
    if not len(inside):  # one value everywhere
        return base64.b64encode(bytes(POINTS**3)).decode()
    centre = inside.mean(0) + volume.affine[:3, 3]
    reach = REACH * float(inside.std(0).mean()) or 1.0
    line = np.linspace(-reach, reach, POINTS)
    step = (line[1] - line[0]) / np.linalg.norm(volume.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(volume.data.astype(np.float32), 0.5 * step, mode="nearest")
    places = np.stack(np.meshgrid(line, line, line, indexing="ij")).reshape(3, -1)
    back = np.linalg.inv(volume.affine)
    voxels = back[:3, :3] @ (places + centre[:, None]) + back[:3, 3:]
    seen = ndimage.map_coordinates(smooth, voxels, order=1, mode="nearest")
    seen = seen.reshape((POINTS,) * 3)
    detail = seen - ndimage.gaussian_filter(seen, 1.0, mode="nearest")
    scale = 127 / max(float(np.abs(detail).max()), float(np.finfo(np.float32).tiny))
    return base64.b64encode(np.rint(detail * scale).astype(np.int8).tobytes()).decode()


def copies(signatures: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs (i < j) of images that show the same.

    They must be far more alike than each is with the others: subjects of one shape, such as
    templates or geometric test objects, are not taken for one. Of two alone nothing but equal
    signatures tells.
    """
    if len(signatures) < 2:
        return []
    raw = [np.frombuffer(base64.b64decode(text), np.int8) for text in signatures]
    detail = np.stack(raw).astype(np.float32)
    detail -= detail.mean(1, keepdims=True)
    detail /= np.linalg.norm(detail, axis=1, keepdims=True).clip(1e-6)
    alike = detail @ detail.T
    found = []
    for i, j in np.argwhere(np.triu(alike >= ALIKE, 1)).tolist():
        others = np.delete(alike[[i, j]], [i, j], axis=1)
        usual = float(np.median(others)) if others.size else 1.0
        if signatures[i] == signatures[j] or 1 - alike[i, j] < (1 - usual) / 4:
            found.append((i, j))
    return found
