"""From files to label maps: any orientation and voxel size, on exactly the input's grid."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from small_segmenter import Steps, segmenter, write_scan

from neoseg.inference.dataset import Provenance
from neoseg.inference.derivative import write_derivative
from neoseg.networks import make_head
from neoseg.store import DataError

ORIENTATIONS = [
    "".join(side[place] for side, place in zip(order, sides, strict=True))
    for order in permutations(["RL", "AP", "SI"])
    for sides in product((0, 1), repeat=3)
]
SHAPE = (7, 9, 8)


class Scaled(Steps):
    """The prepared image is scaled to 0-1; this takes it back to 0-3."""

    def forward(self, image):
        return super().forward(image * 3)


@pytest.fixture
def leaves() -> np.ndarray:
    generator = np.random.default_rng(0)
    data = generator.integers(0, 4, size=SHAPE)
    data[0, 0, :4] = (0, 1, 2, 3)
    return data


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_any_orientation(tmp_path, space, leaves, axes) -> None:
    source = write_scan(tmp_path / "a_T2w.nii.gz", leaves, axes, (0.5, 0.8, 1.2), "micron")
    found = segmenter(space, Scaled(4)).segment([source])
    np.testing.assert_array_equal(found.leaves, leaves)
    target = write_derivative(
        tmp_path / "out", source, found.native, space, Provenance("neoseg", "0", "r")
    )
    old, new = nib.load(source), nib.load(target)
    assert new.shape == old.shape
    np.testing.assert_array_equal(new.affine, old.affine)
    assert new.header.get_xyzt_units()[0] == "mm"  # which all lengths are
    indices = np.array([leaf.index for leaf in space.leaves])
    values = np.rint(np.asarray(old.dataobj)).astype(int)
    np.testing.assert_array_equal(np.asarray(new.dataobj), indices[values])


def test_a_wrong_number_of_images_is_told(tmp_path, space) -> None:
    path = write_scan(tmp_path / "a.nii.gz", np.arange(64.0).reshape(4, 4, 4))
    use = replace(segmenter(space), modalities=("T2w",))
    assert use(path).leaves.shape == (4, 4, 4)
    with pytest.raises(DataError, match="2 images were given, and the network takes 1: T2w"):
        use(path, path)
    with pytest.raises(DataError, match="is a folder; give one file"):
        use(tmp_path)
    with pytest.raises(DataError, match="found ndarray, expected the path of an image file"):
        use(np.zeros((4, 4, 4)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_any_number_type(tmp_path, space, leaves, dtype, name) -> None:
    source = write_scan(tmp_path / name, leaves, dtype=dtype)
    np.testing.assert_array_equal(segmenter(space, Scaled(4)).segment([source]).leaves, leaves)


@pytest.mark.parametrize("spacing", [0.7, 1.0, 2.1])
@pytest.mark.parametrize("axes", ["RAS", "ILA"])
def test_any_voxel_size(tmp_path, space, spacing, axes) -> None:
    """Large blocks keep their place on the file's own grid, whatever the network's voxel size."""
    blocks = np.zeros((24, 20, 16), int)
    blocks[12:] = 1
    blocks[:, 10:] += 2
    source = write_scan(tmp_path / "a.nii.gz", blocks, axes, (0.8, 1.1, 1.6))
    found = segmenter(space, Scaled(4), spacing=spacing).segment([source])
    assert found.leaves.shape == blocks.shape
    assert found.native.shape == nib.load(source).shape
    inner = np.ones(blocks.shape, bool)
    inner[9:15] = inner[:, 7:13] = False
    np.testing.assert_array_equal(found.leaves[inner], blocks[inner])


@pytest.mark.parametrize("head", ["softmax", "multilabel"])
def test_every_orientation_gives_one_segmentation_at_another_voxel_size(
    tmp_path, space, head
) -> None:
    grid = np.indices((13, 11, 12)).astype(np.float32)
    smooth = np.abs(np.sin(grid[0] / 4) + np.cos(grid[1] / 3) + np.sin(grid[2] / 5))
    network = Scaled(make_head(head, space).channels)
    use = segmenter(space, network, head, spacing=(1.5, 0.9, 1.0))
    first = None
    for axes in ORIENTATIONS:
        source = write_scan(tmp_path / "a.nii", smooth, axes, (0.7, 0.8, 1.2))
        found = use.segment([source], classes=(1,))
        first = first or found
        assert found.geometry.resampled
        assert np.mean(found.leaves != first.leaves) < 0.002
        close = np.abs(found.probabilities.values - first.probabilities.values) < 0.01
        assert close.mean() > 0.998
    assert len(np.unique(first.leaves)) > 1


@pytest.mark.parametrize("how", ["oblique", "sheared"])
def test_an_oblique_or_sheared_grid_changes_nothing_but_its_place(tmp_path, space, how) -> None:
    data = np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.float32)
    data[0, 0, :4] = (0, 1, 2, 3)
    affine = np.eye(4)
    if how == "oblique":
        affine[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    else:
        affine[0, 1] = 0.1
    source = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(data, affine), source)
    found = segmenter(space, Scaled(4), spacing=1.0).segment([source])
    np.testing.assert_array_equal(found.native, data)


def test_probabilities_are_resampled_not_labels(tmp_path, space) -> None:
    """Between two coarse voxels the border lies where their probabilities are equal."""
    ramp = np.zeros((12, 6, 6), np.float32)
    ramp[6:] = 3
    source = write_scan(tmp_path / "a.nii", ramp, spacing=(1.0, 3.0, 3.0))

    class Leaning(Scaled):
        def forward(self, image):
            logits = super().forward(image)
            logits[:, 3] += 10  # 40 % beside the border, certain behind it
            return logits

    found = segmenter(space, Leaning(4), spacing=3.0, patch=(2, 6, 6)).segment([source])
    borders = {int(np.flatnonzero(found.leaves[:, y, z] == 3)[0]) for y in (2, 3) for z in (2, 3)}
    assert found.prepared_leaves.shape == (4, 6, 6)
    assert borders == {5}  # copied labels would give 6


def test_a_coarser_scan_is_told_of(tmp_path, space, leaves, caplog) -> None:
    source = write_scan(tmp_path / "thick.nii.gz", leaves, spacing=(1.0, 1.0, 4.0))
    segmenter(space, Scaled(4), spacing=1.0).segment([source])
    assert "thick.nii.gz has voxels of 1 x 1 x 4 mm, coarser than the 1 x 1 x 1 mm" in caplog.text


def test_outside_of_the_crop_is_background(tmp_path, space) -> None:
    data = np.zeros((20, 20, 20))
    data[6:12, 6:12, 6:12] = 3
    source = write_scan(tmp_path / "a.nii.gz", data)
    found = segmenter(space, Steps(4, shift=-3.0), crop_margin=1.0).segment([source])
    assert found.prepared_leaves.shape == (8, 8, 8)
    assert (found.prepared_leaves == 3).all()
    assert (found.leaves > 0).sum() == 8**3
    assert (found.leaves[5:13, 5:13, 5:13] == 3).all()


def test_pieces_are_shown_once(tmp_path, space, leaves) -> None:
    source = write_scan(tmp_path / "a.nii.gz", leaves)
    seen = np.zeros(SHAPE, int)
    scores = np.zeros((4, *SHAPE))

    def look(logits, region, geometry) -> None:
        assert geometry.shape == SHAPE
        seen[region] += 1
        scores[(slice(None), *region)] = logits

    found = segmenter(space, Scaled(4)).segment([source], look)
    assert (seen == 1).all()
    np.testing.assert_array_equal(scores.argmax(0), found.leaves)


@pytest.mark.parametrize("head", ["softmax", "multilabel"])
@pytest.mark.parametrize("on_disk", [True, False])
def test_probabilities_are_those_of_the_logits(tmp_path, space, leaves, head, on_disk) -> None:
    source = write_scan(tmp_path / "a.nii.gz", leaves, "LPI")
    use = segmenter(space, Scaled(make_head(head, space).channels), head, SHAPE)
    logits = []
    found = use.segment(
        [source],
        lambda part, *_: logits.append(part),
        classes=(4, 0),
        scratch=tmp_path / "new" if on_disk else None,
    )
    (whole,) = logits
    expected = use.head.class_probabilities(whole[None])[0][[4, 0]].numpy()
    assert found.probabilities.values.dtype == np.float16
    np.testing.assert_allclose(found.probabilities.values, expected, atol=1e-3)
    np.testing.assert_allclose(
        found.probabilities.native(0), expected[0][::-1, ::-1, ::-1], atol=1e-3
    )
    if on_disk:
        assert list((tmp_path / "new").iterdir()) == []


def test_a_preparation_by_the_mask_needs_one_and_uses_it(tmp_path, space, leaves) -> None:
    source = write_scan(tmp_path / "a_T2w.nii.gz", leaves)
    inside = np.zeros(SHAPE, np.uint8)
    inside[0:4, 0:6, 0:5] = 1
    mask = write_scan(tmp_path / "mask.nii.gz", inside, dtype=np.uint8)
    use = segmenter(space, Scaled(4), foreground="mask", crop_margin=0.0)
    with pytest.raises(DataError, match="has no brain mask"):
        use.segment([source])
    found = use.segment([source], mask=mask)
    assert found.geometry.prepared_shape == (4, 6, 5)
    np.testing.assert_array_equal(found.leaves[:4, :6, :5], leaves[:4, :6, :5])
    assert not found.leaves[4:].any()
