"""Generate the arrays of one scan: labels, mask and images on the voxel grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from neoseg.cohort.phantom.acquisition import acquire, average_blocks, majority
from neoseg.cohort.phantom.anatomy import Pose, build_block
from neoseg.cohort.phantom.contrast import draw_contrast, paint_intensity
from neoseg.cohort.phantom.growth import Growth, growth_at
from neoseg.cohort.phantom.individual import Individual, draw_individual
from neoseg.cohort.phantom.parcels import EXTRACRANIAL, tissue_lookup
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.shapes import Floats
from neoseg.cohort.phantom.subject import Session, Stream, Subject, random_stream

WIDE_VIEW, TALL_VIEW = (145.0, 145.0, 108.0), (108.0, 145.0, 145.0)
FINE_VOXEL = 0.9
"""Voxel size in mm below which voxels are sampled once, at their centre; else twice per axis."""

POINTS_PER_BLOCK = 400_000
FULL_SCALE = 1000.0
"""Stored intensity of cerebrospinal fluid on T2w, before the gain of the scanner."""


@dataclass(frozen=True)
class PhantomScan:
    """One session; arrays `[i, j, k]` in stored orientation, `affine` maps to RAS mm.

    Images are float32; `t1w` and `t1w_restored` are None if the session has no T1w. `labels87`
    holds 0 to 87, `labels9` 0 to 9, `mask` 0 or 1 (brain with external CSF).
    """

    subject: Subject
    session: Session
    affine: NDArray[np.float64]
    t2w: Floats
    t2w_restored: Floats
    t1w: Floats | None
    t1w_restored: Floats | None
    labels87: NDArray[np.uint8]
    labels9: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def generate_scan(settings: PhantomSettings, subject: Subject, session: Session) -> PhantomScan:
    """Generate one scan of `subject` at `session.scan_age`.

    The anatomy is computed in blocks; coarse voxels are sampled at several points each. Their
    label is the majority of the points, their intensity the mean (partial volume).
    """
    individual = draw_individual(random_stream(settings, subject.number, Stream.ANATOMY))
    growth = _individual_growth(session.scan_age, individual)
    contrast = draw_contrast(
        random_stream(settings, subject.number, Stream.CONTRAST),
        growth.maturity,
        growth.layering,
        settings.variation,
    )
    pose = _draw_pose(random_stream(settings, subject.number, Stream.POSE, session.visit))
    factor = 1 if settings.spacing < FINE_VOXEL else 2
    view = WIDE_VIEW if session.wide_view else TALL_VIEW
    counts = [round(length / settings.spacing) for length in view]
    axes = [_centres(count, settings.spacing) for count in counts]
    fine_axes = [_centres(count * factor, settings.spacing / factor) for count in counts]

    labels = np.zeros(counts, np.uint8)
    image = np.zeros((2, *counts), np.float32)
    slices = max(1, POINTS_PER_BLOCK // (len(fine_axes[0]) * len(fine_axes[1]) * factor))
    for start in range(0, counts[2], slices):
        stop = min(start + slices, counts[2])
        block_axes = (fine_axes[0], fine_axes[1], fine_axes[2][start * factor : stop * factor])
        block = build_block(block_axes, growth, individual, pose)
        labels[:, :, start:stop] = majority(block.labels, factor)
        painted = paint_intensity(block, contrast, settings.spacing / factor)
        image[..., start:stop] = average_blocks(painted, factor)
    return _acquire(settings, subject, session, labels, image, axes, 0.3 if factor > 1 else 0.5)


def _acquire(
    settings: PhantomSettings,
    subject: Subject,
    session: Session,
    labels: NDArray[np.uint8],
    image: Floats,
    axes: Sequence[Floats],
    blur: float,
) -> PhantomScan:
    rng = random_stream(settings, subject.number, Stream.ACQUISITION, session.visit)
    noise = settings.noise * float(np.exp(rng.normal(0, 0.25)))
    affine = np.diag([settings.spacing] * 3 + [1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    stored = axcodes2ornt(tuple(session.orientation))
    transform = ornt_transform(io_orientation(affine), stored)
    scans: list[Floats] = []
    for channel in range(2):
        gain = FULL_SCALE * float(np.exp(rng.normal(0, 0.3)))
        pair = acquire(
            rng,
            image[channel],
            axes,
            settings.spacing,
            noise=noise,
            bias=settings.bias,
            motion=session.motion,
            blur=blur,
        )
        scans.extend(
            np.ascontiguousarray(apply_orientation(np.rint(part * gain), transform), np.float32)
            for part in pair
        )
    labels87 = np.ascontiguousarray(apply_orientation(labels, transform))
    t2w, t2w_restored, t1w, t1w_restored = scans
    return PhantomScan(
        subject=subject,
        session=session,
        affine=affine @ inv_ornt_aff(transform, labels.shape),
        t2w=t2w,
        t2w_restored=t2w_restored,
        t1w=t1w if session.has_t1w else None,
        t1w_restored=t1w_restored if session.has_t1w else None,
        labels87=labels87,
        labels9=tissue_lookup()[labels87],
        mask=((labels87 > 0) & (labels87 != EXTRACRANIAL)).astype(np.uint8),
    )


def _individual_growth(age: float, individual: Individual) -> Growth:
    mean = growth_at(age)
    folding = growth_at(min(max(age + individual.folding_shift, 24.0), 48.0))
    return replace(
        mean, sulcal_depths=folding.sulcal_depths, sylvian_opening=folding.sylvian_opening
    )


def _draw_pose(rng: np.random.Generator) -> Pose:
    tilt, roll, turn = np.deg2rad(rng.normal(0, (4.0, 1.5, 2.0)))
    shift = np.clip(rng.normal(0, (1.0, 2.0, 1.5)), -3, 3) - (0, 0, 3.0)
    rotation = _rotation(2, turn) @ _rotation(1, roll) @ _rotation(0, tilt)
    return Pose(rotation=rotation, translation=shift)


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    matrix, (i, j) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i] = np.sin(angle)
    matrix[i, j] = -matrix[j, i]
    return matrix


def _centres(count: int, spacing: float) -> Floats:
    return ((np.arange(count) - (count - 1) / 2) * spacing).astype(np.float32)
