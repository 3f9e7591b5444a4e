from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from neoseg.training.teacher import Teacher, TeacherSettings


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.Conv3d(3, 2, 1)).double()


def train(network: nn.Module, teacher: Teacher, steps: int) -> list[dict[str, torch.Tensor]]:
    """Return the student's state after each step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(1)
    states = []
    for _ in range(steps):
        optimizer.zero_grad()
        image = torch.rand((2, 1, 4, 4, 4), generator=generator, dtype=torch.float64)
        network(image).square().mean().backward()
        optimizer.step()
        teacher.update(network)
        states.append(deepcopy(network.state_dict()))
    return states


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_the_average_is_the_closed_form_of_the_recorded_students(decay: float, steps: int) -> None:
    network = student()
    teacher = Teacher(network, decay)
    states = train(network, teacher, steps)
    # Student n enters with 1 - d_n and is faded by every later d.
    decays = [min(1 - 1 / (n + 1), decay) for n in range(steps)]
    weights = torch.tensor(
        [(1 - d) * math.prod(decays[n + 1 :]) for n, d in enumerate(decays)],
        dtype=torch.float64,
    )
    assert weights.sum() == pytest.approx(1.0)
    average = teacher.average.module.state_dict()
    assert len(average) == len(states[0])
    for name, value in average.items():
        if not value.is_floating_point():
            assert torch.equal(value, states[-1][name]), name
            continue
        stacked = torch.stack([state[name] for state in states])
        expected = torch.einsum("n,n...->...", weights, stacked)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_normalisation_statistics_are_averaged_and_counters_copied() -> None:
    network = student()
    teacher = Teacher(network, 0.9)
    states = train(network, teacher, 5)
    average = teacher.average.module.state_dict()
    assert int(average["1.num_batches_tracked"]) == 5
    assert not torch.equal(average["1.running_mean"], states[-1]["1.running_mean"])
    assert not torch.equal(average["1.running_mean"], states[0]["1.running_mean"])


def test_before_the_first_update_it_is_the_student() -> None:
    network = student()
    teacher = Teacher(network, 0.99)
    for a, b in zip(teacher.average.module.parameters(), network.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a is not b


def test_it_stays_in_evaluation_mode() -> None:
    teacher = Teacher(student(), 0.9)
    holder = nn.ModuleDict({"student": student(), "teacher": teacher})
    holder.train()
    assert holder["student"].training
    assert not any(module.training for module in teacher.modules())
    before = teacher.average.module[1].running_mean.clone()
    teacher(torch.rand(2, 1, 4, 4, 4, dtype=torch.float64))
    assert torch.equal(teacher.average.module[1].running_mean, before)


def test_it_does_not_learn_and_gives_no_gradient() -> None:
    network = student()
    teacher = Teacher(network, 0.9)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in network.parameters())
    image = torch.rand(2, 1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert not teacher(image).requires_grad
    train(network, teacher, 2)
    assert all(p.grad is None for p in teacher.parameters())


def test_a_restored_teacher_goes_on_averaging() -> None:
    network = student()
    whole, first = Teacher(network, 0.99), Teacher(network, 0.99)
    states = train(network, whole, 6)
    second = Teacher(student(), 0.99)
    shadow = student()
    for state in states[:3]:
        shadow.load_state_dict(state)
        first.update(shadow)
    second.load_state_dict(first.state_dict())
    for state in states[3:]:
        shadow.load_state_dict(state)
        second.update(shadow)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


class TestMeanProbabilities:
    """The mean over noisy passes that tells how sure a teacher is."""

    IMAGE = torch.rand((2, 1, 4, 4, 4), generator=torch.Generator().manual_seed(5)).double()
    SEEDS = torch.tensor([11, 12])

    def found(
        self,
        network: nn.Module | None = None,
        image: torch.Tensor = IMAGE,
        seeds: torch.Tensor = SEEDS,
        passes: int = 4,
        noise: float = 0.1,
    ) -> torch.Tensor:
        teacher = Teacher(network or student(), 0.9)
        return teacher.mean_probabilities(image, seeds, passes, noise, torch.sigmoid)

    def test_without_noise_it_is_the_pass_itself(self) -> None:
        network = student()
        expected = Teacher(network, 0.9)(self.IMAGE).sigmoid()
        torch.testing.assert_close(self.found(network, noise=0.0).double(), expected)

    def test_an_item_depends_on_its_seed_alone(self) -> None:
        both = self.found()
        alone = self.found(image=self.IMAGE[1:], seeds=self.SEEDS[1:])
        torch.testing.assert_close(both[1:], alone)
        assert not torch.allclose(both, self.found(seeds=torch.tensor([11, 13])))
        assert torch.equal(both, self.found())

    def test_it_draws_nothing_from_the_global_generator(self) -> None:
        network, before = student(), torch.get_rng_state()
        self.found(network)
        assert torch.equal(torch.get_rng_state(), before)

    def test_it_is_the_mean_over_passes_with_noise_in_units_of_the_image(self) -> None:
        seen: list[torch.Tensor] = []
        network = nn.Sequential(nn.Identity())
        teacher = Teacher(network, 0.9)
        mean = teacher.mean_probabilities(
            10 * self.IMAGE, self.SEEDS, 200, 0.5, lambda x: seen.append(x.clone()) or x
        )
        stacked = torch.stack(seen)
        torch.testing.assert_close(mean, stacked.mean(0), rtol=1e-5, atol=1e-5)
        deviation = (stacked - 10 * self.IMAGE.float()).abs()
        unit = 10 * self.IMAGE.float().std(dim=(2, 3, 4), keepdim=True)
        assert (deviation <= 2 * 0.5 * unit + 1e-5).all()
        # What is cut at two deviations keeps 0.96 of its own.
        assert (stacked.std(0) / unit).mean() == pytest.approx(0.5 * 0.96, rel=0.05)

    def test_dropout_is_on_for_the_passes_only(self) -> None:
        network = nn.Sequential(student(), nn.Dropout3d(0.5)).double()
        teacher = Teacher(network, 0.9)
        torch.manual_seed(1)
        first = teacher.mean_probabilities(self.IMAGE, self.SEEDS, 1, 0.0, torch.sigmoid)
        second = teacher.mean_probabilities(self.IMAGE, self.SEEDS, 1, 0.0, torch.sigmoid)
        assert not torch.equal(first, second)
        assert not any(module.training for module in teacher.modules())
        assert torch.equal(teacher(self.IMAGE), teacher(self.IMAGE))

    def test_statistics_stay(self) -> None:
        teacher = Teacher(student(), 0.9)
        before = teacher.average.module[1].running_mean.clone()
        teacher.mean_probabilities(self.IMAGE, self.SEEDS, 2, 0.1, torch.sigmoid)
        assert torch.equal(teacher.average.module[1].running_mean, before)


@pytest.mark.parametrize(
    "raw", [{"decay": 1.0}, {"decay": -0.1}, {"decai": 0.9}, {"passes": -1}, {"noise": -0.1}]
)
def test_settings_are_checked(raw: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        TeacherSettings(**raw)  # type: ignore[arg-type]
