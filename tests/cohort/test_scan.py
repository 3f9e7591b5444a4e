"""Ids and names are parts of file names, never paths."""

from __future__ import annotations

import pytest

from neoseg.cohort import Cohort, CohortError, Scan
from neoseg.labels import Convention, LabelSpace

ODD = ["../x", "a/b", "/", "a\\b", "a\0", "", "..", " "]


@pytest.mark.parametrize("name", ODD)
def test_what_leads_elsewhere_is_refused(space: LabelSpace, name: str) -> None:
    with pytest.raises(CohortError, match="no slash"):
        Scan(name, None, (None,), None, None, None, None, "c")
    with pytest.raises(CohortError, match="no slash"):
        Scan("1", name, (None,), None, None, None, None, "c")
    with pytest.raises(CohortError, match=r"cohort\.name is"):
        Cohort(name, (), Convention.identity(space), ("T2w",))


def test_usual_ids_pass() -> None:
    for name in ("CC00050XX01", "007", "a.b", "é", "1 2"):
        assert Scan(name, name, (None,), None, None, None, None, "c").id == f"sub-{name}_ses-{name}"
