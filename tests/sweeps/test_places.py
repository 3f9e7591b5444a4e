from __future__ import annotations

import pytest

from neoseg.findings.settings import ConfigError
from neoseg.sweeps.places import Places, visible_gpus


def test_jobs_get_gpus_of_their_own() -> None:
    places = Places(["0", "1"])
    assert {places.take(1), places.take(1)} == {("0",), ("1",)}
    assert places.take(1) is None
    places.give_back(("1",))
    assert places.take(1) == ("1",)


def test_small_jobs_share_a_gpu_after_all_are_in_use() -> None:
    places = Places(["0", "1"], per_gpu=2)
    taken = [places.take(1) for _ in range(4)]
    assert {*taken[:2]} == {*taken[2:]} == {("0",), ("1",)}
    assert places.take(1) is None


def test_a_job_with_two_devices_gets_two_gpus() -> None:
    places = Places(["0", "1", "2"])
    assert len(set(places.take(2) or ())) == 2
    assert places.take(2) is None
    assert places.take(1) is not None


def test_more_devices_than_gpus() -> None:
    with pytest.raises(ConfigError, match=r"trainer.devices is 3, and cluster=local has 2 GPUs"):
        Places(["0", "1"]).require(3)


@pytest.mark.parametrize(("jobs", "expected"), [(None, 1), (3, 3)])
def test_without_gpus_the_number_of_jobs_counts(jobs: int | None, expected: int) -> None:
    places = Places([], jobs=jobs)
    assert [places.take(4) for _ in range(expected)] == [()] * expected
    assert places.take(1) is None
    places.give_back(())
    assert places.take(1) == ()


def test_fewer_jobs_than_gpus() -> None:
    places = Places(["0", "1"], jobs=1)
    assert places.take(1) == ("0",)
    assert places.take(1) is None


@pytest.mark.parametrize(
    ("told", "gpus"),
    [("0, 1", ["0", "1"]), ("-1", []), ("", []), ("2,-1,3", ["2"]), ("GPU-a", ["GPU-a"])],
)
def test_gpus_are_those_that_cuda_would_see(
    monkeypatch: pytest.MonkeyPatch, told: str, gpus: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible_gpus() == gpus
