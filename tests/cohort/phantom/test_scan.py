"""Check the arrays of single phantom scans: structures, sides, growth, contrast, grid."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neoseg.cohort.phantom.growth import growth_at
from neoseg.cohort.phantom.parcels import structures, tissue_lookup
from neoseg.cohort.phantom.scan import PhantomScan, generate_scan
from neoseg.cohort.phantom.settings import PhantomSettings
from neoseg.cohort.phantom.subject import ORIENTATIONS, draw_subject

CSF, CORTEX, WHITE, VENTRICLES = 1, 2, 3, 5


@cache
def scan_at(
    age: float,
    number: int = 0,
    spacing: float = 3.0,
    orientation: str = "RAS",
    seed: int = 0,
    wide_view: bool = True,
) -> PhantomScan:
    settings = PhantomSettings(seed=seed, spacing=spacing, motion=0.0)
    subject = draw_subject(settings, number)
    session = replace(
        subject.sessions[0],
        visit=0,
        scan_age=age,
        orientation=orientation,
        has_t1w=True,
        wide_view=wide_view,
    )
    return generate_scan(settings, subject, session)


def tissue_volumes(scan: PhantomScan) -> np.ndarray:
    voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    return np.bincount(scan.labels9.ravel(), minlength=10) * voxel


def brain_volume(scan: PhantomScan) -> float:
    volumes = tissue_volumes(scan)
    return float(volumes[[2, 3, 5, 6, 7, 8, 9]].sum())


def test_same_seed_same_arrays_and_other_subjects_differ() -> None:
    first = scan_at(34.0)
    settings = PhantomSettings(spacing=3.0, motion=0.0)
    again = generate_scan(settings, first.subject, first.session)
    np.testing.assert_array_equal(first.t2w, again.t2w)
    np.testing.assert_array_equal(first.labels87, again.labels87)
    other = scan_at(34.0, number=1)
    assert (first.labels87 != other.labels87).mean() > 0.05
    assert (first.labels87 != scan_at(34.0, seed=1).labels87).mean() > 0.05


@pytest.mark.parametrize("age", [28.5, 41.0])
def test_every_structure_is_present_at_two_millimetres(age: float) -> None:
    scan = scan_at(age, number=2, spacing=2.0)
    assert np.unique(scan.labels87).tolist() == list(range(88))


def test_left_structures_lie_left() -> None:
    scan = scan_at(41.0, number=2, spacing=2.0)
    coordinates = nib.affines.apply_affine(scan.affine, np.argwhere(scan.labels87 > 0))
    labels = scan.labels87[scan.labels87 > 0]
    for structure in structures():
        x = coordinates[labels == structure.index, 0].mean()
        side = re.search("left|right", structure.name)
        if side:
            assert (x < 0) == (side[0] == "left"), structure.name


def test_structure_table_has_pairs_and_known_tissues() -> None:
    table = structures()
    assert [row.index for row in table] == list(range(1, 88))
    for side in ("left", "right"):
        assert sum(side in row.name for row in table) == 41
    lookup = tissue_lookup()
    assert lookup[[0, 19, 48, 83, 84, 85]].tolist() == [0, 8, 3, 1, 4, 7]


def test_tissues_follow_from_structures() -> None:
    scan = scan_at(34.0)
    np.testing.assert_array_equal(scan.labels9, tissue_lookup()[scan.labels87])
    np.testing.assert_array_equal(scan.mask, (scan.labels87 > 0) & (scan.labels87 != 84))


def test_brain_volumes_are_those_of_newborns() -> None:
    early = np.mean([brain_volume(scan_at(30.0, n)) for n in range(3)])
    late = np.mean([brain_volume(scan_at(42.0, n)) for n in range(3)])
    assert 140 < early < 210
    assert 380 < late < 520


def test_one_subject_grows() -> None:
    volumes = [brain_volume(scan_at(age)) for age in (30.0, 34.0, 38.0, 42.0)]
    assert (np.diff(volumes) > 30).all()


def surface_to_volume(scan: PhantomScan) -> float:
    """Compare the cerebrum's outer surface with that of a ball of its volume."""
    cerebrum = np.isin(scan.labels9, (2, 3, 5, 7, 9))
    faces = sum(
        int(np.diff(np.pad(cerebrum, 1).astype(np.int8), axis=a).__abs__().sum()) for a in range(3)
    )
    return faces / cerebrum.sum() ** (2 / 3)


def test_cortex_folds_with_age() -> None:
    indices = [surface_to_volume(scan_at(age, number=2, spacing=2.0)) for age in (28.5, 41.0)]
    assert indices[1] > 1.25 * indices[0]


def test_cortical_share_rises_and_ventricles_shrink_relatively() -> None:
    early, late = tissue_volumes(scan_at(30.0)), tissue_volumes(scan_at(42.0))
    assert late[CORTEX] / late[WHITE] > 1.3 * early[CORTEX] / early[WHITE]
    share_early = early[VENTRICLES] / brain_volume(scan_at(30.0))
    share_late = late[VENTRICLES] / brain_volume(scan_at(42.0))
    assert share_late < 0.75 * share_early


def test_cortex_is_a_ribbon_on_white_matter() -> None:
    scan = scan_at(28.5, number=2, spacing=2.0)
    cortex = scan.labels9 == CORTEX
    inner = ndimage.distance_transform_edt(cortex) * 2.0
    assert np.percentile(inner[cortex], 95) < 4.0
    touching = ndimage.binary_dilation(scan.labels9 == WHITE, iterations=2)
    assert touching[cortex].mean() > 0.8


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("age", [30.0, 42.0])
def test_tissue_contrast_is_that_of_newborns(number: int, age: float) -> None:
    scan = scan_at(age, number)
    t2w, t1w = (
        [np.median(image[scan.labels9 == tissue]) for tissue in (VENTRICLES, WHITE, CORTEX)]
        for image in (scan.t2w_restored, scan.t1w_restored)
    )
    assert t2w[0] > t2w[1] > t2w[2]
    assert t1w[0] < t1w[1] < t1w[2]


def test_restoring_removes_the_shading() -> None:
    scan = scan_at(42.0)
    white = scan.labels9 == WHITE
    spread = [
        np.std(image[white]) / np.mean(image[white]) for image in (scan.t2w, scan.t2w_restored)
    ]
    assert spread[1] < spread[0]


@pytest.mark.parametrize(("spacing", "shape"), [(4.0, (36, 36, 27)), (3.0, (48, 48, 36))])
def test_spacing_and_field_of_view(spacing: float, shape: tuple[int, ...]) -> None:
    scan = scan_at(34.0, spacing=spacing)
    assert nib.affines.voxel_sizes(scan.affine) == pytest.approx([spacing] * 3)
    assert scan.t2w.shape == scan.labels87.shape == shape


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_changes_storage_not_space(orientation: str) -> None:
    plain, stored = scan_at(34.0, spacing=4.0), scan_at(34.0, spacing=4.0, orientation=orientation)
    assert nib.aff2axcodes(stored.affine) == tuple(orientation)
    back = nib.as_closest_canonical(nib.Nifti1Image(stored.labels87, stored.affine))
    np.testing.assert_array_equal(np.asarray(back.dataobj), plain.labels87)
    np.testing.assert_allclose(back.affine, plain.affine, atol=1e-4)


def test_views_differ_in_shape() -> None:
    assert scan_at(34.0, spacing=4.0, wide_view=False).t2w.shape == (27, 36, 36)


def test_two_visits_share_the_anatomy() -> None:
    settings = PhantomSettings(spacing=4.0)
    subject = draw_subject(settings, 0)
    first = replace(subject.sessions[0], visit=0, scan_age=38.0, orientation="RAS", wide_view=True)
    scans = [generate_scan(settings, subject, replace(first, visit=visit)) for visit in (0, 1)]
    stranger = draw_subject(settings, 1)
    scans.append(generate_scan(settings, stranger, first))
    head = scans[0].labels9 > 0
    same, other = ((scans[0].labels9 != scan.labels9)[head].mean() for scan in scans[1:])
    assert 0 < same < other
    assert not np.array_equal(scans[0].t2w, scans[1].t2w)


def test_age_outside_the_curves_is_refused() -> None:
    with pytest.raises(ValueError, match="24 to 48"):
        growth_at(60.0)


@pytest.mark.parametrize(
    ("name", "value"), [("subjects", 0), ("spacing", 0.1), ("noise", -1), ("preterm_share", 2)]
)
def test_settings_name_what_is_wrong(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        PhantomSettings(**{name: value})
