"""The base of every error that is told to a user in one message."""

from __future__ import annotations


class NeosegError(ValueError):
    """What the person who reads it can act on: the message says where, what and what to do.

    A command ends with the message and exit status 2; a traceback would only hide it. What a
    terminal would obey, in a name out of a file, is shown as Python writes it.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Return a text in which what a terminal would obey is shown as Python writes it."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
