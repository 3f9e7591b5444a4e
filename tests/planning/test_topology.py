"""Patches and networks by nnU-Net's rules, on shapes whose answers are known."""

from __future__ import annotations

import math

import pytest

from neoseg.findings.settings import ConfigError
from neoseg.networks import check_network
from neoseg.planning.topology import Topology, first_patch, fitting, topology


@pytest.mark.parametrize(
    ("shape", "spacing", "patch", "divisors", "levels"),
    [
        # nnU-Net's own plan for the hippocampus
        ((35, 50, 35), (1.0, 1.0, 1.0), (40, 56, 40), (8, 8, 8), 4),
        # five poolings at most
        ((128, 128, 128), (1.0, 1.0, 1.0), (128, 128, 128), (32, 32, 32), 6),
        # thick slices are not halved before the others are as coarse
        ((240, 240, 20), (0.8, 0.8, 5.0), (256, 256, 20), (32, 32, 4), 6),
        # an axis alone is halved only while 12 voxels are left
        ((4, 4, 11), (1.0, 1.0, 1.0), (4, 4, 11), (1, 1, 1), 1),
    ],
)
def test_axes_are_halved_while_they_are_long_and_fine_enough(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    patch: tuple[int, int, int],
    divisors: tuple[int, int, int],
    levels: int,
) -> None:
    found = topology(first_patch(shape, spacing), spacing)
    assert (found.patch, found.divisors, len(found.strides)) == (patch, divisors, levels)
    assert len(found.kernels) == levels


def test_kernels_are_flat_until_voxels_are_about_as_long_as_wide() -> None:
    found = topology((256, 256, 20), (0.8, 0.8, 5.0))
    assert [kernel[2] for kernel in found.kernels] == [1, 1, 3, 3, 3, 3]


def test_a_patch_that_is_given_stays() -> None:
    found = topology((36, 48, 30), (1.0, 1.0, 1.0), grow=False)
    assert found.patch == (36, 48, 30)
    assert found.divisors == (4, 8, 2)


def test_the_patch_shrinks_where_it_covers_most_until_a_step_can_be_afforded() -> None:
    asked: list[Topology] = []

    def fits(tried: Topology) -> bool:
        asked.append(tried)
        return math.prod(tried.patch) <= 64**3

    found = fitting((200, 160, 160), (1.0, 1.0, 1.0), fits)
    assert 0.5 * 64**3 < math.prod(found.patch) <= 64**3
    assert found.patch[0] >= found.patch[1] == found.patch[2]
    volumes = [math.prod(tried.patch) for tried in asked]
    assert volumes == sorted(volumes, reverse=True)


def test_the_patch_of_a_network_that_is_given_is_a_multiple_of_its_divisor() -> None:
    found = fitting((50, 61, 40), (1.0, 1.0, 1.0), lambda _: True, (16, 16, 8))
    assert found.patch == (64, 64, 40)


def test_what_is_planned_is_a_network_that_fits_its_patch() -> None:
    found = topology((240, 240, 20), (0.8, 0.8, 5.0))
    network = found.network(16, deep=True, classes=16)
    check_network(network, found.patch)
    assert network["divisor"] == [32, 32, 4]
    assert network["net"]["filters"] == [16, 32, 64, 128, 256, 320]
    assert network["net"]["deep_supr_num"] == 2


def test_more_classes_than_channels_are_told_apart_at_several_levels() -> None:
    found = topology((48, 72, 48), (2.0, 2.0, 2.0))
    network = found.network(16, deep=True, classes=17)
    check_network(network, found.patch)
    assert network["net"]["_target_"].endswith("SummedHeads")
    assert network["net"]["summed"] == 3
    assert "summed" not in found.network(32, deep=True, classes=17)["net"]


def test_scans_that_are_too_small_for_two_levels_are_told() -> None:
    with pytest.raises(ConfigError, match="scans of 7 x 9 x 5 voxels are too small to plan for"):
        fitting((7, 9, 5), (1.0, 1.0, 1.0), lambda _: True)
    assert fitting((8, 8, 5), (1.0, 1.0, 1.0), lambda _: True).divisors == (2, 2, 1)
    assert fitting((7, 9, 5), (1.0, 1.0, 1.0), lambda _: True, (2, 2, 2)).patch == (8, 10, 6)
