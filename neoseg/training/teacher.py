"""The teacher: an exponential moving average of the student's weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class TeacherSettings(BaseModel):
    """What a user writes under `teacher`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decay: float = Field(default=0.99, ge=0, lt=1, description="largest weight of the past")
    always: bool = Field(default=False, description="keep one even if no loss term needs it")


class Teacher(nn.Module):
    """A frozen average of a network (Tarvainen & Valpola 2017).

    After update n (from 0) the average is `d * average + (1 - d) * student` with
    d = min(1 - 1 / (n + 1), decay), so the first update copies the student and the average warms
    up before it lags behind. Buffers (normalisation statistics) are averaged as well; counters
    are copied.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.average = AveragedModel(student, multi_avg_fn=self._mix, use_buffers=True)
        self.requires_grad_(False)
        self.eval()

    def _mix(
        self, average: Sequence[Tensor], student: Sequence[Tensor], updates: Tensor | int
    ) -> None:
        """Update tensors of one type in place; as one group they cost a GPU one synchronisation."""
        averages, students = list(average), list(student)
        if averages[0].is_floating_point():
            decay = min(1 - 1 / (int(updates) + 1), self.decay)
            torch._foreach_lerp_(averages, students, 1 - decay)
        else:
            torch._foreach_copy_(averages, students)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode: the teacher's statistics are averages, not its own."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the average towards the student; call once after each optimizer step."""
        self.average.update_parameters(student)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return the teacher's logits `[B, N, X, Y, Z]`."""
        return self.average(image)
