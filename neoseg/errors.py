"""Base class of the errors that are reported to the user as one message."""


class NeosegError(ValueError):
    """An error that the user can act on: the message says where, what is wrong and what to do.

    A command exits with the message and status 2, without a traceback, which would only hide it.
    Control characters, as in a name read from a file, are escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Return a text with non-printable characters, except newlines and tabs, escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
