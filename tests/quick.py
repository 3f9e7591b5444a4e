"""What is most of a tiny run's time and seldom meant by a test: registration, and its curves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest


@contextmanager
def quick_runs() -> Iterator[None]:
    """Register with a few steps and draw no curves.

    Tests of the registration, and the training on real scans, do both in full.
    """
    # By now: who only looks for tests need not import them.
    from neoseg.labelling import atlas
    from neoseg.labelling.registration import Effort
    from neoseg.training import progress_lines

    few = partial(atlas.register, effort=Effort(steps=(2, 2, 2), affine_steps=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atlas, "register", few)
        patch.setattr(progress_lines, "draw_curves", lambda rows, path: None)
        yield
