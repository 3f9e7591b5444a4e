"""Read all files of a scan once and collect every problem with them."""

import hashlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from neoseg.cohort import Problem, Scan
from neoseg.labels import Convention, LabelError
from neoseg.store.brightness import sampled
from neoseg.store.checks import check_grid, one
from neoseg.store.ct import is_in_hounsfield
from neoseg.store.damage import DataError
from neoseg.store.fingerprint import mask_state
from neoseg.store.foreground import check_mask
from neoseg.store.label_checks import OF_CONTENT, check_content, check_exactness, check_values
from neoseg.store.label_extent import measured
from neoseg.store.preprocess import (
    Geometry,
    brain_of,
    prepare_volumes,
    read_images,
)
from neoseg.store.settings import PrepareSettings
from neoseg.store.signature import signature_of
from neoseg.store.volume import Volume, read_volume


def read_scan(
    scan: Scan, convention: Convention, settings: PrepareSettings
) -> tuple[np.ndarray, Geometry, np.ndarray | None, dict[str, Any]]:
    """Return image, geometry, stored codes on the canonical grid, and the record of a scan.

    Raises:
        DataError: lists all errors of its files.
    """
    problems: list[Problem] = []
    image = geometry = codes = None
    samples: list[np.ndarray | None] = []
    record: dict[str, Any] = {
        "scan": scan.id,
        "files": [str(p) for p in (*scan.images, scan.label) if p is not None],
        "settings": settings.model_dump(),
        "values": list(convention.values),
        "type": settings.dtype,
        "channels": sum(path is not None for path in scan.images),
        "voxels": [],
        "mask": mask_state(scan.mask),
    }
    try:
        volumes = read_images(scan.images, settings)
        problems += [note for volume in volumes if volume is not None for note in volume.notes]
        assert volumes[0] is not None
        record["digest"], record["signature"] = shown_by(volumes[0])
        record["hounsfield"] = is_in_hounsfield(volumes[0].data)
        further = (volume for volume in volumes[1:] if volume is not None)
        record["others"] = [digest_of_voxels(volume) for volume in further]
        brain = brain_of(volumes, scan.images, settings, scan.mask)
        image, geometry = prepare_volumes(volumes, settings, brain)
        record["geometry"] = asdict(geometry)
        samples = [None if v is None else sampled(v.data).copy() for v in volumes]
        del volumes
    except DataError as error:
        problems += error.problems or [Problem(scan.id, str(error), kind="missing-image")]
    if scan.label is not None:
        try:
            codes, notes, voxels = read_labels(scan, convention, geometry)
            problems += notes
            meaning = scan.meaning(convention)
            crop = None if geometry is None else geometry.crop
            record |= measured(codes, crop, len(meaning.values))
            label = np.array(meaning.values)[sampled(codes)]
            for path, data in zip(scan.images, samples, strict=False):
                # Only a sample is compared; if it has several structures, equality is no accident.
                if path and data is not None and np.ptp(label) and np.array_equal(data, label):
                    text = f"holds the numbers of the label file {scan.label}"
                    action = "correct the name of one of them"
                    problems += one(path, text, "an image", action, "duplicate-image")
            record["voxels"] = voxels.tolist()
        except DataError as error:
            problems += error.problems
    if settings.foreground != "mask":
        problems += mask_problems(scan, geometry)
    if any(problem.severity == "error" for problem in problems):
        raise DataError.of(problems)
    assert image is not None
    assert geometry is not None
    stored = [problem for problem in problems if problem.kind not in OF_CONTENT]
    record["findings"] = [problem.to_dict() for problem in stored]
    return image, geometry, codes, record


def read_codes(scan: Scan, convention: Convention, geometry: Geometry) -> np.ndarray:
    """Return the stored codes of a scan's label file on the canonical, uncropped grid.

    Raises:
        DataError: the scan has no label file, the file cannot be read or is not on the image's
            grid, or its labels are not integers of the convention.
    """
    return read_labels(scan, convention, geometry)[0]


def read_labels(
    scan: Scan, convention: Convention, geometry: Geometry | None
) -> tuple[np.ndarray, list[Problem], np.ndarray]:
    """Return the codes like `read_codes`, the findings, and the voxel count of each code.

    Without `geometry` the grid is not compared.
    """
    if scan.label is None or scan.images[0] is None:
        raise DataError(f"{scan.id} has no label file")
    labels = read_volume(scan.label, dtype=np.int64)
    problems = list(labels.notes)
    if geometry is not None:
        expected = (geometry.shape, np.array(geometry.affine))
        native = (labels.native_shape, labels.native_affine)
        problems += check_grid(scan.label, *native, scan.images[0], *expected)
    codes = voxels = None
    try:
        codes = convention.encode(labels.data, str(scan.label))
        voxels = np.bincount(codes.ravel(), minlength=len(convention.values))
        problems += check_exactness(scan.label, labels)
        problems += check_content(scan, voxels, convention)
    except LabelError:
        problems += check_values(scan.label, labels, convention)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or codes is None or voxels is None:
        raise DataError.of(errors)
    return codes, problems, voxels


def mask_problems(scan: Scan, geometry: Geometry | None) -> list[Problem]:
    """Return warnings, of kind "mask", about a brain mask that preparation does not use."""
    if scan.mask is None:
        return []
    try:
        mask = read_volume(scan.mask, dtype=np.int64)
    except DataError as error:
        problems = list(error.problems)
    else:
        grid = (mask.native_shape, mask.native_affine)
        if geometry is not None:
            grid = (geometry.shape, np.array(geometry.affine))
        problems = check_mask(scan.mask, mask, scan.images[0] or scan.mask, *grid)
    unused = "the mask is not used for training; repair it before others rely on it"
    return [replace(p, action=unused, kind="mask", severity="warning") for p in problems]


def shown_by(volume: Volume) -> tuple[str, str]:
    """Return a digest of an image's voxels in canonical axes, and its signature."""
    return digest_of_voxels(volume), signature_of(volume)


def digest_of_voxels(volume: Volume) -> str:
    """Return a digest of the voxels of a volume in canonical axes, 24 hex digits."""
    return hashlib.blake2b(np.ascontiguousarray(volume.data).data, digest_size=12).hexdigest()
