"""The base of every error that is told to a user in one message."""

from __future__ import annotations


class NeosegError(ValueError):
    """What the person who reads it can act on: the message says where, what and what to do.

    A command ends with the message and exit status 2; a traceback would only hide it.
    """
