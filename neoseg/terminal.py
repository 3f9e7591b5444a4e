"""What a command takes for granted of the shell that starts it: a folder, and readers."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def require_folder() -> None:
    """Exit with one line if the current folder is gone."""
    try:
        os.getcwd()
    except OSError:
        sys.stderr.write("the folder in which this was started is gone; cd into another one\n")
        sys.exit(2)


def outlive_readers() -> None:
    """Make the standard streams go on when their reader leaves; see `PatientOutput`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is TextIOWrapper:  # not that of a notebook or a test
            setattr(sys, name, PatientOutput(stream))


class PatientOutput(TextIOWrapper):
    """Output that goes on into nothing when its reader leaves, as in `neoseg train ... | head`.

    Python would raise BrokenPipeError, which would end a training.
    """

    def __init__(self, stream: TextIOWrapper) -> None:
        # File names need not be UTF-8.
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
        )
        self._replaced = stream  # which would close the buffer if it were collected

    def write(self, text: str) -> int:
        """Write a text, or nothing if nobody reads."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._read_no_more()
            return len(text)

    def flush(self) -> None:
        """Flush, unless nobody reads."""
        try:
            super().flush()
        except BrokenPipeError:
            self._read_no_more()

    def _read_no_more(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
