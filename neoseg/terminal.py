"""What a command takes for granted of the shell that starts it: a folder, and readers."""

import errno
import os
import sys
from contextlib import suppress
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
            with suppress(OSError):
                setattr(sys, name, PatientOutput(stream))


class PatientOutput(TextIOWrapper):
    """Output that goes on into nothing when its reader leaves, as in `neoseg train ... | head`.

    Python would raise an error, which would end a training; so it would with a closed terminal.
    """

    def __init__(self, stream: TextIOWrapper) -> None:
        # File names need not be UTF-8.
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._replaced = stream  # which would close the buffer if it were collected

    def write(self, text: str) -> int:
        """Write a text, or nothing if nobody reads."""
        try:
            return super().write(text)
        except OSError as error:
            self._go_on_after(error)
            return len(text)

    def flush(self) -> None:
        """Flush, unless nobody reads."""
        try:
            super().flush()
        except OSError as error:
            self._go_on_after(error)

    def _go_on_after(self, error: OSError) -> None:
        if error.errno not in (errno.EPIPE, errno.EIO):  # a pipe or a terminal that was closed
            raise error
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
