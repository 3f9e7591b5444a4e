"""Ending a training at a step on which all of its processes agree, when the machine asks for it."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from enum import IntEnum
from types import FrameType
from typing import NoReturn

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from neoseg.processes import INTERRUPTIONS, warning_signal

log = logging.getLogger(__name__)


class Wish(IntEnum):
    """What the machine asks of a training; of several wishes the largest counts."""

    NOTHING = 0
    SAVE = 1
    SAVE_AND_END = 2


class StopSignals:
    """Listens to what asks for an end, and tells all processes of the training what was heard.

    That is SIGTERM, Ctrl-C (SIGINT), SIGHUP (a terminal that is closed) and a cluster's warning; a
    second Ctrl-C ends at once. What the process was told to ignore, as with nohup, it ignores.
    Lightning ends a training in one process well on SIGTERM; that stays as it is. With several
    processes, each of which hears a signal at another step, they agree on one here. A job of
    submitit is warned with `SIGUSR2` (or what `SUBMITIT_PREEMPT_SIGNAL` says): it saves and ends,
    and `requeue` puts it back into the queue. SIGTERM may come before that warning or before the
    kill, so such a job saves and goes on.
    """

    def __init__(self) -> None:
        self._wish = Wish.NOTHING
        self._cause = signal.SIGTERM

    def listen(self, trainer: L.Trainer) -> None:
        """Take the signals over; Lightning gives them back at the end of the training."""
        self._wish = Wish.NOTHING
        if threading.current_thread() is not threading.main_thread():
            return
        for number in INTERRUPTIONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard_end)
        warning = warning_signal()
        if warning is not None:
            signal.signal(warning, self._heard_end)
            signal.signal(signal.SIGTERM, self._heard_save)
        elif trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._heard_end)

    def agreed(self, trainer: L.Trainer) -> Wish:
        """Return the largest wish that any process has heard; all must ask at the same step."""
        wish = self._wish
        if trainer.world_size > 1:
            heard = torch.tensor(int(wish), device=trainer.strategy.root_device)
            wish = Wish(int(trainer.strategy.reduce(heard, reduce_op="max")))
        if wish is Wish.SAVE:
            self._wish = Wish.NOTHING
        return wish

    def _heard_save(self, signum: int, _: FrameType | None) -> None:
        log.info("%s: saving at the next step", signal.Signals(signum).name)
        self._wish = max(self._wish, Wish.SAVE)

    def _heard_end(self, signum: int, _: FrameType | None) -> None:
        log.info("%s: saving and ending at the next step", signal.Signals(signum).name)
        self._wish, self._cause = Wish.SAVE_AND_END, signal.Signals(signum)
        if signum == signal.SIGINT:
            signal.signal(signum, signal.default_int_handler)

    def end(self) -> NoReturn:
        """End the training; the exception has the number of the signal that this process heard."""
        raise SIGTERMException(int(self._cause))


def requeue() -> None:
    """Put this job of submitit back into the queue; it is started again with the same folder.

    The first process ends here; the others return.

    Raises:
        submitit.core.utils.UncompletedJobError: its time has run out too often.
        subprocess.CalledProcessError: SLURM refused.
    """
    warning = warning_signal()
    if warning is None:
        return
    try:
        signal.raise_signal(warning)  # submitit listens again: the training is over
    except subprocess.CalledProcessError as error:
        if -error.returncode not in (signal.SIGTERM, signal.SIGKILL):
            raise
        # SLURM ends a job that goes back into the queue, and may end with it the very command
        # that asked for this, before that can say so.
        sys.exit(-1)  # as submitit does
