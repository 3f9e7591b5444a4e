"""Several networks together: what is averaged, on which grid, and in how much memory."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from small_segmenter import Steps, segmenter, write_scan
from torch import Tensor, nn

from neoseg.findings.settings import ConfigError
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.trained import TrainedNetwork
from neoseg.inference.window import predict_logits
from neoseg.labels import LabelSpace, LabelTable
from neoseg.store import prepare_images

SHAPE = (9, 12, 8)


class Noise(nn.Module):
    """Logits that look at single voxels and differ between seeds."""

    def __init__(self, channels: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("slope", torch.randn(channels, generator=generator) * 9)

    def forward(self, image: Tensor) -> Tensor:
        return self.slope[:, None, None, None] * (image[:, :1] - 0.5)


@pytest.fixture
def source(tmp_path):
    data = np.random.default_rng(0).random(SHAPE)
    return write_scan(tmp_path / "a_T2w.nii.gz", data, "LAS", (0.9, 1.0, 1.1))


def leaf_probabilities(member: Segmenter, source) -> Tensor:
    image, _ = prepare_images([source], member.prepare)
    logits = predict_logits(
        member.network, torch.from_numpy(image), member.head, member.window, member.device
    )
    return member.head.leaf_scores(logits[None].float())[0].softmax(0)


def class_probabilities(member: Segmenter, source) -> Tensor:
    image, _ = prepare_images([source], member.prepare)
    logits = predict_logits(
        member.network, torch.from_numpy(image), member.head, member.window, member.device
    )
    return member.head.class_probabilities(logits[None].float())[0]


def members_of(space: LabelSpace, *options: dict) -> dict[str, Segmenter]:
    heads = {"softmax": 4, "multilabel": 5}
    return {
        f"run{n}": segmenter(space, Noise(heads[o.get("head", "softmax")], n + 5), **o)
        for n, o in enumerate(options)
    }


@pytest.mark.parametrize(
    "options",
    [
        [{}, {}],
        [{}, {"head": "multilabel"}, {"patch": (9, 4, 3)}],
        [{"head": "multilabel"}, {"normalise": "zscore"}, {"patch": (1, 12, 8)}],
    ],
)
def test_the_mean_of_the_leaf_probabilities_decides(space, source, options) -> None:
    members = members_of(space, *options)
    found = Ensemble(members).segment([source], classes=(4, 1))
    mean = torch.stack([leaf_probabilities(m, source) for m in members.values()]).mean(0)
    certain = (mean.topk(2, dim=0).values.diff(dim=0)[0].abs() > 2e-3).numpy()
    assert certain.mean() > 0.9
    expected = mean.argmax(0).numpy()
    assert len(np.unique(expected[certain])) > 1
    np.testing.assert_array_equal(found.leaves[certain], expected[certain])
    assert found.native.shape == nib.load(source).shape
    np.testing.assert_array_equal(found.native, found.leaves[::-1])
    classes = torch.stack([class_probabilities(m, source) for m in members.values()]).mean(0)
    np.testing.assert_allclose(found.probabilities.values, classes[[4, 1]].numpy(), atol=3e-3)


def test_two_of_three_win_where_they_agree(space, source) -> None:
    """Not the same as the mean of logits: one very sure member does not rule."""

    def always(leaf: int, sure: float) -> Segmenter:
        class Fixed(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                logits = torch.zeros(len(image), 4, *image.shape[2:])
                logits[:, leaf] = sure
                return logits

        return segmenter(space, Fixed())

    members = {"a": always(1, 5), "b": always(1, 5), "c": always(2, 90)}
    assert (Ensemble(members).segment([source]).leaves == 1).all()


def test_members_may_crop_differently(tmp_path, space) -> None:
    """Where a member predicted nothing it counts as certain of the background."""
    data = np.zeros((16, 14, 12))
    data[5:11, 4:10, 3:9] = 1
    source = write_scan(tmp_path / "a.nii.gz", data)

    def sure(probability: float, **prepare) -> Segmenter:
        class Fixed(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                logits = torch.zeros(len(image), 4, *image.shape[2:])
                logits[:, 3] = np.log(3 * probability / (1 - probability))
                return logits

        return segmenter(space, Fixed(), **prepare)

    members = {"all": sure(0.9), "crop": sure(0.8, crop_margin=1.0)}
    found = Ensemble(members).segment([source], classes=(3, 0, 4), scratch=tmp_path)
    inside = np.zeros(data.shape, bool)
    inside[4:12, 3:11, 2:10] = True
    assert (found.leaves[inside] == 3).all()
    assert (found.leaves[~inside] == 0).all()  # 0.45 for leaf 3, 0.5 + 0.1 / 6 for background
    expected = {3: (0.85, 0.45), 0: (0.05, 0.5 + 0.1 / 6), 4: (0.1, 0.1 / 3)}
    for number, (within, beyond) in enumerate(expected[c] for c in (3, 0, 4)):
        values = found.probabilities.native(number)
        np.testing.assert_allclose(values[inside], within, atol=2e-3)
        np.testing.assert_allclose(values[~inside], beyond, atol=2e-3)
    assert found.prepared_leaves.shape == data.shape


def test_outside_of_all_crops_is_background(tmp_path, space) -> None:
    data = np.zeros((16, 14, 12))
    data[5:11, 4:10, 3:9] = 1
    source = write_scan(tmp_path / "a.nii.gz", data)
    members = {
        str(margin): segmenter(space, Steps(4, shift=-3.0), crop_margin=margin)
        for margin in (1.0, 2.0)
    }
    found = Ensemble(members).segment([source], classes=(0, 3))
    assert (found.leaves[4:12, 3:11, 2:10] == 3).all()
    assert (found.leaves == 3).sum() == 8**3
    assert (found.leaves[:3] == 0).all()
    values = [found.probabilities.native(n) for n in (0, 1)]
    assert (values[0][:3] == 1).all()
    assert (values[1][:3] == 0).all()


def test_members_may_have_other_voxel_sizes(tmp_path, space) -> None:
    blocks = np.zeros((24, 20, 16), int)
    blocks[12:] = 1
    blocks[:, 10:] += 2
    source = write_scan(tmp_path / "a.nii.gz", blocks, "SRP", (0.8, 1.1, 1.6))

    class Scaled(Steps):
        def forward(self, image):
            return super().forward(image * 3)

    members = {
        str(spacing): segmenter(space, Scaled(4), spacing=spacing) for spacing in (None, 1.5, 0.7)
    }
    found = Ensemble(members).segment([source], classes=(1,))
    inner = np.ones(blocks.shape, bool)
    inner[9:15] = inner[:, 7:13] = False
    np.testing.assert_array_equal(found.leaves[inner], blocks[inner])
    values = found.probabilities.native(0)
    assert values.shape == nib.load(source).shape
    turned = values.transpose(1, 2, 0)[:, ::-1]  # from SRP
    assert turned[inner & (blocks == 1)].min() > 0.8
    assert turned[inner & (blocks != 1)].max() < 0.2


@pytest.mark.parametrize("number", [2, 6])
def test_memory_does_not_grow_with_the_members(space, source, number, monkeypatch) -> None:
    made = []
    zeros = torch.zeros

    def spy(*size, **options):
        tensor = zeros(*size, **options)
        if tensor.shape[-1:] == (4,) and tensor.ndim == 4:
            made.append((tuple(tensor.shape), tensor.dtype))
        return tensor

    monkeypatch.setattr("neoseg.inference.ensemble.torch.zeros", spy)
    Ensemble(members_of(space, *[{}] * number)).segment([source])
    assert made == [((*SHAPE, 4), torch.float16)]


def test_label_tables_must_agree(space) -> None:
    leaves = [
        {"index": n, "name": f"n{n}", "abbreviation": f"a{n}", "color": "#000000"} for n in range(4)
    ]
    other = LabelSpace.from_table(
        LabelTable.parse({"name": "other", "background": 0, "leaves": leaves})
    )
    members = {"runs/a": segmenter(space), "runs/b": segmenter(other)}
    with pytest.raises(ValueError, match=r"label table.*: runs/a has 0 BG where runs/b has 0 a0"):
        Ensemble(members)


def test_names_and_colours_may_differ(space) -> None:
    table = {
        "name": "renamed",
        "background": 0,
        "leaves": [
            {"index": i, "name": f"New {a}", "abbreviation": a, "color": "#010203"}
            for i, a in ((0, "BG"), (11, "L"), (12, "R"), (40, "CSF"))
        ],
        "classes": [{"abbreviation": "LR", "name": "Both", "leaves": ["L", "R"]}],
        "mirror": [[11, 12]],
    }
    other = LabelSpace.from_table(LabelTable.parse(table))
    ensemble = Ensemble({"a": segmenter(space), "b": segmenter(other)})
    assert ensemble.head.space is space


def test_one_is_no_ensemble(space) -> None:
    with pytest.raises(ValueError, match="two runs or more"):
        Ensemble({"a": segmenter(space)})


def test_a_folder_of_runs_names_the_newest(tmp_path: Path) -> None:
    for day in ("01", "02"):
        (tmp_path / day / "checkpoints").mkdir(parents=True)
        (tmp_path / day / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ConfigError, match=rf"such as {tmp_path}/02, or a file of"):
        TrainedNetwork.load(tmp_path)
