"""Stop a training on signals, at a step on which all of its processes agree."""

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
    """What signals demand of a training; the largest value wins."""

    NOTHING = 0
    SAVE = 1
    SAVE_AND_END = 2


class StopSignals:
    """Receive signals that ask for an end, and agree on them across all processes of the training.

    These are SIGTERM, Ctrl-C (SIGINT), SIGHUP (a closed terminal) and a cluster's warning; a second
    Ctrl-C ends at once. Signals that the process was started to ignore, as with nohup, stay
    ignored. With one process, Lightning's own handling of SIGTERM is kept. With several, each of
    which receives a signal at a different step, they agree on one here. A job of submitit is warned
    with `SIGUSR2` (or `SUBMITIT_PREEMPT_SIGNAL`): it saves and ends, and `requeue` puts it back
    into the queue. SIGTERM may come before that warning or before the kill, so on SIGTERM such a
    job saves and continues.
    """

    def __init__(self) -> None:
        self._wish = Wish.NOTHING
        self._cause = signal.SIGTERM

    def listen(self, trainer: L.Trainer) -> None:
        """Install the signal handlers; Lightning restores the previous ones after the training."""
        self._wish = Wish.NOTHING
        if threading.current_thread() is not threading.main_thread():
            return
        for number in INTERRUPTIONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_end_signal)
        warning = warning_signal()
        if warning is not None:
            signal.signal(warning, self._on_end_signal)
            signal.signal(signal.SIGTERM, self._on_save_signal)
        elif trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._on_end_signal)

    def agreed(self, trainer: L.Trainer) -> Wish:
        """Return the largest wish of all processes; all must call this at the same step."""
        wish = self._wish
        if trainer.world_size > 1:
            signal_value = torch.tensor(int(wish), device=trainer.strategy.root_device)
            wish = Wish(int(trainer.strategy.reduce(signal_value, reduce_op="max")))
        if wish is Wish.SAVE:
            self._wish = Wish.NOTHING
        return wish

    def _on_save_signal(self, signum: int, _: FrameType | None) -> None:
        log.info("%s: saving at the next step", signal.Signals(signum).name)
        self._wish = max(self._wish, Wish.SAVE)

    def _on_end_signal(self, signum: int, _: FrameType | None) -> None:
        log.info("%s: saving and ending at the next step", signal.Signals(signum).name)
        self._wish, self._cause = Wish.SAVE_AND_END, signal.Signals(signum)
        if signum == signal.SIGINT:
            signal.signal(signum, signal.default_int_handler)

    def end(self) -> NoReturn:
        """End the training; the exception carries the number of the received signal."""
        raise SIGTERMException(int(self._cause))


def requeue() -> None:
    """Put this submitit job back into the queue; it will restart with the same folder.

    The first process exits here; the others return.

    Raises:
        submitit.core.utils.UncompletedJobError: it has timed out too often.
        subprocess.CalledProcessError: SLURM refused.
    """
    warning = warning_signal()
    if warning is None:
        return
    try:
        signal.raise_signal(warning)  # handled by submitit again: the training is over
    except subprocess.CalledProcessError as error:
        if -error.returncode not in (signal.SIGTERM, signal.SIGKILL):
            raise
        # SLURM kills a requeued job, and may kill the requeue command itself before it returns.
        sys.exit(-1)  # as submitit does
