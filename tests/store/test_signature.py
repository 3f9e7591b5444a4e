"""An image is known again after a change of units or voxels; other people are not taken for it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neoseg.cohort.phantom.scan import generate_scan
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.subject import draw_subject
from neoseg.store.signature import copies, signature_of
from neoseg.store.volume import Volume, read_volume


def resampled(volume: Volume, factor: float) -> Volume:
    shape = np.rint(np.array(volume.data.shape) / factor).astype(int)
    step = np.array(volume.data.shape) / shape
    data = ndimage.affine_transform(
        volume.data, step, (step - 1) / 2, output_shape=tuple(shape), order=1, mode="nearest"
    )
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((step - 1) / 2)
    affine[:3, :3] *= step
    return of(data, affine)


def of(data: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(data.astype(np.float32), affine, data.shape, affine)


def changed(volume: Volume) -> dict[str, Volume]:
    axes = np.array([[1, -1], [2, 1], [0, 1]])
    turned = nib.Nifti1Image(volume.data, volume.affine).as_reoriented(axes)
    return {
        "scaled": of(volume.data * 3.7, volume.affine),
        "shifted": of(volume.data * 0.5 + 200, volume.affine),
        "mirrored": of(volume.data[::-1], volume.affine),
        "coarser": resampled(volume, 1.5),
        "finer": resampled(volume, 0.7),
        "both": of(np.round(resampled(volume, 1.5).data * 0.1), resampled(volume, 1.5).affine),
        "turned": of(np.asarray(turned.dataobj), turned.affine),
        "moved": of(volume.data, volume.affine + np.outer([20, -9, 3, 0], [0, 0, 0, 1])),
    }


def require_known_again(people: list[Volume]) -> None:
    signatures = [signature_of(person) for person in people]
    assert copies(signatures) == []
    for number in (0, len(people) - 1):
        for what, other in changed(people[number]).items():
            found = copies([*signatures, signature_of(other)])
            assert found == [(number, len(people))], what


def test_heads_of_the_phantom() -> None:
    settings = PhantomSettings(subjects=4, spacing=4.0)
    people = []
    for number in range(4):
        subject = draw_subject(settings, number)
        scan = generate_scan(settings, subject, subject.sessions[0])
        people.append(of(scan.t2w_restored, scan.affine))
    require_known_again(people)


def test_scans_of_people(real_scans: Path) -> None:
    folder = real_scans.parent / "hippocampus" / "imagesTr"
    if not folder.is_dir():
        pytest.skip(f"the hippocampi are not at {folder}")
    paths = sorted(folder.glob("*.nii.gz"))[:12]
    require_known_again([read_volume(path) for path in paths])


def test_bodies_of_one_shape_with_other_noise_are_several() -> None:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 20)] * 3, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    body = np.select([radius < 0.3, radius < 0.6, radius < 0.9], [300.0, 100.0, 200.0], 0.0)
    people = [body + np.random.default_rng(seed).normal(0, 9, body.shape) for seed in range(4)]
    signatures = [signature_of(of(data, np.eye(4) * [4, 4, 4, 1])) for data in people]
    assert copies(signatures) == []
    assert copies([*signatures, signatures[2]]) == [(2, 4)]
    assert copies([signatures[2], signatures[2]]) == [(0, 1)]


def test_what_shows_nothing_is_like_nothing() -> None:
    empty = signature_of(of(np.zeros((5, 5, 5)), np.eye(4)))
    assert copies([empty, empty]) == []
    assert copies([]) == []
