from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_cohort import annotate_cohort, make_data, write_cohort
from torch.nn.functional import affine_grid, grid_sample

from neoseg.labelling.atlas import AtlasLabeller
from neoseg.labelling.pose import centred, turned
from neoseg.labelling.registration import Effort, register
from neoseg.patches.volumes import VolumeSample

QUICK = Effort(factors=(2, 1), steps=(20, 5), affine_steps=40)
LENGTH = 32
VOXEL = (1.0, 1.0, 1.0)
POSES = {
    "usual": (0, 0, 0),
    "about": (0, 0, 180),
    "on the side": (90, 0, 0),
    "upside down": (180, 0, 0),
    "between": (80, -30, 60),
    "halfway": (45, 0, 0),
    "oblique": (170, 40, 10),
}


def turn(pose: str) -> Rotation:
    return Rotation.from_euler("xyz", POSES[pose], degrees=True)


def head(
    turned_by: Rotation, larger: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outline of an egg, image, and a structure inside, low at the back; `[X, Y, Z]` each."""
    line = torch.linspace(-1, 1, LENGTH) / larger
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)
    x, y, z = (grid @ torch.tensor(turned_by.as_matrix(), dtype=torch.float32)).unbind(-1)
    outline = (x / 0.6).square() + (y / (0.75 + 0.2 * z)).square() + (z / 0.55).square() < 1
    part = (x / 0.4).square() + ((y + 0.3) / 0.25).square() + ((z + 0.2) / 0.25).square() < 1
    side = ((x - 0.25) / 0.2).square() + ((y - 0.2) / 0.35).square() + (z / 0.25).square() < 1
    noise = torch.randn(outline.shape, generator=torch.Generator().manual_seed(int(9 * larger)))
    return outline, outline * (1.0 + part - 0.7 * side) + 0.05 * noise, part


def channels(outline: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    return torch.stack([3.0 * outline, 0.3 * (image - image.mean()) / image.std()])


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one > 0.5, other > 0.5
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("pose", [pose for pose in POSES if pose != "usual"])
def test_a_turned_head_of_which_only_the_outline_is_told(pose: str) -> None:
    (*there, true), (*here, part) = head(turn(pose), 1.1), head(turn("usual"))
    fixed, moving = channels(*there), channels(*here)
    start = centred(fixed[0], moving[0])
    found = []
    for turns in (None, turned(fixed[0], moving[0], VOXEL)):
        grid = register(fixed, moving, QUICK, start, turns)
        found.append(
            dice(grid_sample(part[None, None].float(), grid[None], align_corners=False)[0, 0], true)
        )
    assert found[1] > 0.8
    assert pose == "halfway" or found[0] < 0.3


@pytest.mark.parametrize("tilt", [(0, 0, 0), (10, -10, 15)])
def test_a_head_that_lies_as_usual_is_registered_as_without_other_starts(tilt: tuple[int]) -> None:
    fixed = channels(*head(Rotation.from_euler("xyz", tilt, degrees=True), 1.1)[:2])
    moving = channels(*head(turn("usual"))[:2])
    start, turns = centred(fixed[0], moving[0]), turned(fixed[0], moving[0], VOXEL)
    assert torch.equal(
        register(fixed, moving, QUICK, start), register(fixed, moving, QUICK, start, turns)
    )


def test_starts_turn_bodies_of_other_grids_and_voxels_without_mirroring() -> None:
    """A bar of 8 x 4 x 6 mm: among the starts are those that lay it on itself."""
    voxel = (1.0, 0.5, 2.0)
    fixed, moving = torch.zeros(20, 40, 10), torch.zeros(16, 44, 12)
    fixed[4:12, 10:18, 3:6] = 1  # 8 x 4 x 6 mm
    moving[6:10, 16:28, 2:6] = 1  # 4 x 6 x 8 mm
    starts = turned(fixed, moving, voxel)
    assert len(starts) == 192
    assert bool((torch.linalg.det(starts[:, :, :3]) > 0).all())
    grids = affine_grid(starts, [len(starts), 1, *fixed.shape], align_corners=False)
    volumes = moving.expand(len(starts), 1, -1, -1, -1)
    moved = grid_sample(volumes, grids, align_corners=False)[:, 0]
    assert sorted(dice(one, fixed) for one in moved)[-4] > 0.95


@pytest.mark.parametrize("pose", ["upside down", "about"])
def test_atlases_name_the_parts_of_a_turned_head(tmp_path, pose: str) -> None:
    cohort = write_cohort(tmp_path / "cohort", 2)
    data = make_data(annotate_cohort(cohort, ["full", "partial"]), tmp_path / "store")
    book = data.annotated.codebook
    brain = int(np.flatnonzero(book.rows.sum(1) == 3)[0])
    (outline, image, true), (around, like, part) = head(turn(pose), 1.1), head(turn("usual"))
    codes = (1 + 2 * around + 2 * part).to(torch.uint8)
    scan = VolumeSample(image[None], torch.where(outline, brain, 1).to(torch.uint8), 0)
    own = AtlasLabeller(book, 0.0, 50, "w", data.train[:1], 1, False, torch.device("cpu"))
    own.__dict__["_atlases"] = [VolumeSample(like[None], codes, 0)]
    leaves = torch.from_numpy(own.predict(scan).leaves)
    assert dice(leaves == 4, true) > 0.8
