"""Only what is unlike the other scans is listed, and one cause once."""

from __future__ import annotations

from pathlib import Path

from neoseg.audit.measure import KINDS, Measure
from neoseg.audit.page import Listed, write_listing
from neoseg.audit.ranking import ranked
from neoseg.cohort import Scan


def measure(kind: str, value: float, structure: str = "A", leaf: int = 1, ml: float = 1) -> Measure:
    return Measure(kind, structure, value, (1, 2, 3), (leaf,) if leaf else (), ml, "a <b> note")


def cohort(odd: Measure, usual: float, spread: float = 0.01) -> dict[str, list[Measure]]:
    """Twenty scans with about the same value, and one that is odd."""
    same = {
        f"s{n}": [measure(odd.kind, usual + spread * (n % 3 - 1), odd.structure)] for n in range(20)
    }
    return same | {"odd": [odd]}


def test_what_is_hard_everywhere_is_listed_nowhere() -> None:
    assert ranked(cohort(measure("contradiction", 0.31), 0.3)) == []
    (found,) = ranked(cohort(measure("contradiction", 0.31), 0.01))
    assert found.scan == "odd"


def test_a_border_counts_both_ways_and_against_its_own_habit() -> None:
    assert [f.scan for f in ranked(cohort(measure("border", -1.0), 0.0))] == ["odd"]
    assert [f.scan for f in ranked(cohort(measure("border", 0.0), 1.0))] == ["odd"]
    assert ranked(cohort(measure("border", 1.0), 1.0)) == []
    assert ranked(cohort(measure("contradiction", 0.0), 0.5)) == []  # better than the others


def test_what_the_network_hardly_sees_is_not_called_forgotten() -> None:
    assert ranked(cohort(measure("not_drawn", 1.0, ml=0.2), 0.0)) == []
    assert len(ranked(cohort(measure("not_drawn", 1.0, ml=0.3), 0.0))) == 1


def test_one_cause_is_listed_once() -> None:
    measures = cohort(measure("not_drawn", 1.0), 0.0)
    measures["odd"] += [measure("contradiction", 1.0), measure("contradiction", 1.0, "B", leaf=2)]
    found = [(f.measure.kind, f.measure.structure) for f in ranked(measures)]
    assert sorted(found) == [("contradiction", "B"), ("not_drawn", "A")]
    measures["odd"].append(measure("shift", 3.0, "back-front", leaf=0))
    assert {f.measure.kind for f in ranked(measures)} == {"not_drawn", "shift"}


def test_few_scans_are_taken_as_they_are() -> None:
    assert len(ranked({"one": [measure("swap", 0.9)], "two": [measure("swap", 0.9)]})) == 2


def test_page_and_table_name_the_place(tmp_path: Path) -> None:
    (finding,) = ranked(cohort(measure("slices", 3.0, "<i>"), 0.0))
    scan = Scan("01", None, (None,), Path("/x/l.nii.gz"), None, None, None, cohort="c")
    picture = tmp_path / "p.png"
    picture.write_bytes(b"png")
    write_listing(tmp_path, "run", [Listed(finding, scan, (3, 2, 1), (1.0, 2.5, 3.0), picture)], 21)
    page = (tmp_path / "index.html").read_text()
    assert "<i>" not in page
    assert "a &lt;b&gt; note" in page
    assert "voxel 3 2 1" in page
    assert "data:image/png;base64,cG5n" in page
    assert KINDS["slices"].title in page
    head, row = (tmp_path / "findings.tsv").read_text().splitlines()
    assert dict(zip(head.split("\t"), row.split("\t"), strict=True))["mm"] == "1.0 2.5 3.0"


def test_measures_come_back_as_they_were() -> None:
    found = measure("border", -0.5)
    assert Measure.from_plain(found.plain()) == found
