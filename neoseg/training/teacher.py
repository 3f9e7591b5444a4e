"""The teacher: an exponential moving average of the student's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neoseg.findings.settings import Section
from neoseg.networks.dropout import dropouts


class TeacherSettings(Section):
    """Settings under `teacher`."""

    decay: float = Field(default=0.99, ge=0, lt=1, description="largest weight of the past")
    always: bool = Field(default=False, description="keep one even if no loss term needs it")
    passes: int = Field(
        default=8,
        ge=0,
        description="with dropout, for terms that ask how sure it is; 0: its own",
    )
    noise: float = Field(
        default=0.1, ge=0, description="of the image in those, standard deviations of the patch"
    )


class Teacher(nn.Module):
    """A frozen moving average of a network (Tarvainen & Valpola 2017).

    After update n (from 0) the average is `d * average + (1 - d) * student` with
    d = min(1 - 1 / (n + 1), decay), so the first update copies the student, and the decay grows to
    its final value. Buffers (normalisation statistics) are averaged as well; counters are copied.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.paused = False  # while a step is skipped
        self.average = AveragedModel(student, use_buffers=True)
        self._updates: int | None = None  # mirrors `n_averaged`, reading which would stall a GPU
        self.requires_grad_(False)
        self.eval()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Re-read the update counter, which comes with the checkpoint."""
        super()._load_from_state_dict(*args, **kwargs)
        self._updates = None

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode: the teacher's statistics are averages, not its own."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the average towards the student; call once after each optimizer step."""
        if self.paused:
            return
        if self._updates is None:
            self._updates = int(self.average.n_averaged)
        decay = min(1 - 1 / (self._updates + 1), self.decay)
        means, values = [], []
        for mean, value in zip(_tensors(self.average.module), _tensors(student), strict=True):
            if self._updates and mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:  # first update, and counters
                mean.copy_(value)
        if means:
            get_ema_multi_avg_fn(decay)(means, values, self._updates)
        self.average.n_averaged.add_(1)
        self._updates += 1

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return the teacher's logits `[B, N, X, Y, Z]`."""
        logits: Tensor = self.average(image)
        return logits

    @torch.no_grad()
    def mean_probabilities(
        self,
        image: Tensor,
        seeds: Tensor,
        passes: int,
        noise: float,
        activate: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return the mean of `activate(logits)` over noisy passes, float32 `[B, N, X, Y, Z]`.

        Each pass adds Gaussian noise to the image, clipped at two standard deviations, with the
        network's dropout active as in training (Yu et al. 2019). Dropout uses the generator that
        `StepSeed` seeds for each batch.

        Args:
            image: `[B, M, X, Y, Z]`.
            seeds: int64 `[B]`; an item's noise depends on its seed alone, not on other items.
            passes: number of passes, at least 1.
            noise: standard deviation of the noise, relative to that of each item and channel.
            activate: turns float32 logits into probabilities.
        """
        generators = [torch.Generator(image.device).manual_seed(s) for s in seeds.tolist()]
        scale = noise * image.float().std(dim=(2, 3, 4), keepdim=True)
        total: Tensor | None = None
        with self._dropping_out():
            for _ in range(passes):
                noises = [
                    torch.randn(image.shape[1:], generator=g, device=image.device)
                    for g in generators
                ]
                noisy = image + scale * torch.stack(noises).clamp(-2, 2)
                probabilities = activate(self.average(noisy).float())
                total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        return total.div_(passes)

    @contextmanager
    def _dropping_out(self) -> Iterator[None]:
        layers = dropouts(self)
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
