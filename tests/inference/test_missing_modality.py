"""A scan without one of the images gets at prediction what it got in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_segmenter import Steps, segmenter, write_scan
from torch import Tensor

from neoseg.cohort import MissingModality
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import LabelSpace
from neoseg.store import DataError, prepare_images


class Flagged(Steps):
    """Takes every voxel for leaf 2 where the second image is said to be missing."""

    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(3 * image)
        if image.shape[1] < 3:
            return logits
        logits[:, 2] += 100 * (1 - image[:, 2])
        return logits


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    data = np.random.default_rng(0).integers(0, 4, (6, 7, 8)).astype(float)
    data[0, 0, :4] = (0, 1, 2, 3)
    other = data.copy()
    other[-1, -1, -4:] = (3, 2, 1, 0)
    return [
        write_scan(tmp_path / f"a_{name}.nii.gz", one)
        for name, one in (("T2w", data), ("T1w", other))
    ]


def with_policy(space: LabelSpace, policy: str | None) -> Segmenter:
    chosen: Any = None if policy is None else MissingModality(policy=policy)  # type: ignore[arg-type]
    return replace(segmenter(space, Flagged(4)), missing=chosen)


@pytest.mark.parametrize("policy", ["zero", "dropout"])
def test_zeros_and_a_flag(space: LabelSpace, images: list[Path], policy: str) -> None:
    use = with_policy(space, policy)
    prepared, _ = prepare_images(images, use.prepare)
    whole, _ = use.volume(images)
    assert torch.equal(whole[:2], torch.from_numpy(prepared))
    assert (whole[2] == 1).all()
    lacking, _ = use.volume([images[0], None])
    assert torch.equal(lacking[0], whole[0])
    assert not lacking[1:].any()
    assert (use.segment([images[0], None]).leaves == 2).all()
    assert len(np.unique(use.segment(images).leaves)) == 4


@pytest.mark.parametrize("policy", ["require", "drop"])
def test_a_network_of_whole_scans_refuses_others(
    space: LabelSpace, images: list[Path], policy: str
) -> None:
    use = with_policy(space, policy)
    assert use.volume(images)[0].shape[0] == 2
    with pytest.raises(DataError, match=rf"a_T2w.nii.gz has no image 2 of 2.*policy={policy}"):
        use.segment([images[0], None])


def test_networks_of_earlier_versions_get_zeros_alone(
    space: LabelSpace, images: list[Path]
) -> None:
    volume, _ = with_policy(space, None).volume([images[0], None])
    assert volume.shape[0] == 2
    assert not volume[1].any()


def test_each_member_of_an_ensemble_fills_in_its_own_way(
    space: LabelSpace, images: list[Path]
) -> None:
    members = {str(policy): with_policy(space, policy) for policy in ("zero", None)}
    found = Ensemble(members).segment([images[0], None])
    assert (found.leaves == 2).all()
