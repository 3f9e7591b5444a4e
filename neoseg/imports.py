"""Import libraries without those of their optional dependencies that neoseg does not use."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

UNUSED_BY_MONAI = (
    *("huggingface_hub", "matplotlib", "pandas", "PIL", "requests", "scipy.optimize"),
    *("scipy.signal", "tensorboard", "transformers"),
)
"""Optional dependencies that MONAI imports if installed, for parts that neoseg does not use."""


def name_user() -> None:
    """Set USER to the user id if the user has no name: MONAI and torch look it up on import.

    Containers that run under an arbitrary user id (`docker run -u`, OpenShift) have no name for
    it; there `getpass.getuser` raises KeyError, and OSError since Python 3.13.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def import_monai() -> None:
    """Import MONAI without its optional dependencies, which make the import four times slower.

    Modules of `UNUSED_BY_MONAI` that are not imported yet look uninstalled to MONAI: its image
    readers, plots, downloads and language-model network then raise `OptionalImportError`. Import
    `monai` before `neoseg` to use them. Other imports, including those of other threads, are not
    affected. Since MONAI 1.3.
    """
    if "monai" not in sys.modules:
        name_user()
        with not_installed(UNUSED_BY_MONAI):
            import monai.networks.nets  # noqa: F401


@contextmanager
def not_installed(names: Sequence[str]) -> Iterator[None]:
    """Make first imports of some modules fail in this thread, as if they were not installed."""
    finder = _BlockingFinder(frozenset(names), threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _BlockingFinder:
    """Meta-path finder that reports some modules as missing in one thread."""

    def __init__(self, names: frozenset[str], thread: int) -> None:
        self.names = names
        self.thread = thread

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for a blocked module in the thread; leave all others to the next finders."""
        if name in self.names and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return None
