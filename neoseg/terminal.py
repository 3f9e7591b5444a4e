"""What a command takes for granted of the shell that starts it: a folder, and a reader."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shell_checked() -> Iterator[None]:
    """Exit with one line if the current folder is gone; quietly if nobody reads the output."""
    try:
        os.getcwd()
    except OSError:
        sys.stderr.write("the folder in which this was started is gone; cd into another one\n")
        sys.exit(2)
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        exit_if_unread()
        raise


def exit_if_unread() -> None:
    """Exit if the reader of the output has closed its pipe, as in `neoseg train --help | head`."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    if any(events & select.POLLERR for _, events in pipe.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
