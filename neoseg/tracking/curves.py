"""Step curves in `metrics.csv`, which a resumed run continues seamlessly."""

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from neoseg.files import write_text
from neoseg.foreign.files import LARGEST_TABLE, read_bytes

FIRST = ("epoch", "step")
WAIT, STEP = "time/data_wait_share", "time/step_seconds"
"""Fraction of the time spent waiting for batches; seconds per batch, waiting included."""


class CurveLogger(Logger):
    """Append each row of metrics to a CSV file immediately.

    Rows are labelled with the step after which they were taken, counted from 0; the columns are
    sorted and grow with what is logged. The file of an interrupted and resumed run ends up with the
    same rows as that of an uninterrupted one (see `rewind`).
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._rows, self._columns = _read(path)

    @property
    def name(self) -> str:
        """Name among the loggers."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: a run folder has a single file."""
        return ""

    @property
    def save_dir(self) -> str:
        """Folder of the file."""
        return str(self.path.parent)

    @property
    def rows(self) -> list[dict[str, float]]:
        """Rows of the file."""
        return [{name: float(value) for name, value in row.items()} for row in self._rows]

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one row; a new column rewrites the file."""
        row = {name: str(_number(value)) for name, value in metrics.items()}
        row["step"] = str(step)
        self._rows.append(row)
        if set(row) <= set(self._columns) and self.path.is_file():
            with self.path.open("a", encoding="utf-8", newline="") as handle:
                handle.write(_csv_lines([row], self._columns))
        else:
            self._rewrite()

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the rows from `step` on, which were logged after the checkpoint that is resumed."""
        self._rows = [row for row in self._rows if int(row["step"]) < step]
        if self._rows:
            self._rewrite()
        else:
            self.path.unlink(missing_ok=True)
            self._columns = []

    def _rewrite(self) -> None:
        names = set().union(*self._rows) - set(FIRST)
        self._columns = [*FIRST, *sorted(names)]
        header = _csv_lines([dict(zip(self._columns, self._columns, strict=True))], self._columns)
        write_text(self.path, header + _csv_lines(self._rows, self._columns))


class StepCurves(Callback):
    """Log training losses, learning rate and waiting times every `log_every_n_steps` steps.

    Lightning would log a step after its checkpoint was written; a run killed between the two would
    lose the row.
    """

    def __init__(self) -> None:
        self._logged = -1
        self._end: float | None = None
        self._waited = self._total = self._start = self._lr = 0.0
        self._batches = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Continue the curves from the step of the checkpoint."""
        self._logged = trainer.global_step
        for logger in trainer.loggers:
            if hasattr(logger, "rewind"):
                logger.rewind(trainer.global_step)

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start timing the wait for loader processes and their first batch."""
        self._end = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Record when the batch arrived, and the learning rate, which changes before its end."""
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]
        self._start = time.perf_counter()
        if self._end is not None:
            self._waited += self._start - self._end

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Log the completed step, if it is due."""
        now = time.perf_counter()
        if self._end is not None:
            self._total += now - self._end
            self._batches += 1
        self._end = now
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step == self._logged or step % every:  # unchanged while gradients accumulate
            return
        self._logged = step
        row: dict[str, Any] = _losses(trainer)
        row["lr"] = self._lr
        if self._total > 0:
            row |= {WAIT: self._waited / self._total, STEP: self._total / self._batches}
            self._waited, self._total, self._batches = 0.0, 0.0, 0
        numbers = {"epoch": trainer.current_epoch, **{k: _number(v) for k, v in row.items()}}
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=step - 1)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Exclude validation from the times."""
        self._end = None


def _losses(trainer: L.Trainer) -> dict[str, float]:
    """Return the losses over all ranks, each of which holds its share times the number of ranks."""
    values = trainer.callback_metrics
    names = sorted(name for name in values if name.startswith("train/"))
    if not names:
        return {}
    shares = torch.stack([values[name].float() for name in names])
    means: list[float] = trainer.strategy.reduce(shares, reduce_op="mean").tolist()
    return dict(zip(names, means, strict=True))


def mean_times(path: Path) -> dict[str, float | None]:
    """Return `data_wait_share` and `step_seconds` of a whole training from its `metrics.csv`.

    Interruptions, and steps lost to them, do not count. Both are None if nothing was measured.
    """
    rows = [row for row in _read(path)[0] if WAIT in row and STEP in row]
    steps = [float(row[STEP]) for row in rows]
    if not sum(steps):
        return {"data_wait_share": None, "step_seconds": None}
    waits = [float(row[WAIT]) * step for row, step in zip(rows, steps, strict=True)]
    share, mean = sum(waits) / sum(steps), sum(steps) / len(steps)
    return {"data_wait_share": round(share, 5), "step_seconds": round(mean, 5)}


def _number(value: Any) -> float | int:
    return value if isinstance(value, int | float) else float(value)


def _csv_lines(rows: list[dict[str, str]], columns: list[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writerows(rows)
    return buffer.getvalue()


def _read(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows and columns of a file; truncated or damaged lines are ignored."""
    if not path.is_file():
        return [], []
    text = read_bytes(path, LARGEST_TABLE, within=path.parent).decode("utf-8", "replace")
    whole = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(whole))
    columns = list(reader.fieldnames or [])
    if not set(FIRST) <= set(columns):
        return [], []
    rows = [
        {name: value for name, value in row.items() if value}
        for row in reader
        if None not in row and (row["step"] or "").isdecimal()
    ]
    return rows, columns
