from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cohort_scans import make_scan
from small_cohort import small_space

from neoseg.cohort import AnnotationSettings, Assignment, Cohort, CohortError, Plan, Source, Split
from neoseg.cohort.annotated import with_annotation
from neoseg.cohort.annotation import plan_annotation, read_plan, write_plan
from neoseg.findings.settings import parse_settings
from neoseg.labels import Convention, LabelSpace, Protocol

NAMES = ("A", "B", "C", "D", "V", "T")
SPLIT = Split(("A", "B", "C", "D"), ("V",), ("T",))
PROTOCOLS = {
    "outline": {"merge": ["LR"]},
    "no_fluid": {"missing": ["CSF"], "describes": True},
    "other": {"describes": True, "convention": {0: "BG", 1: "LR", 2: "CSF"}},
    "ignored": {"unlabelled": True, "describes": True},
}


def cohort_of(space: LabelSpace, *names: str) -> Cohort:
    scans = tuple(replace(make_scan(name, "1", 40.0), cohort="toy") for name in names or NAMES)
    return Cohort("toy", scans, Convention.identity(space), ("T2w",))


def settings(**changes: Any) -> AnnotationSettings:
    raw = {"full_fraction": None, "protocol": {"name": "full"}, "protocols": PROTOCOLS, **changes}
    return parse_settings(AnnotationSettings, raw, "annotation")


def table(folder: Path, text: str, name: str = "who.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def planned(cohort: Cohort, asked: AnnotationSettings) -> Source:
    cohort = with_annotation(cohort, asked)
    protocols = asked.resolved(cohort.convention.space)
    protocols |= {s.annotation.name: s.annotation for s in cohort.scans if s.annotation}
    return Source(cohort, SPLIT, plan_annotation(cohort.scans, SPLIT, asked), protocols)


def told(source: Source) -> dict[str, tuple[str, str]]:
    return {item.subject: (item.stream, item.protocol) for item in source.assignments}


TABLE = "subject,annotation\nsub-A,full\nB,outline\nC,no_fluid\nD,LR\nV,outline\nT,no_fluid\n"


def test_a_table_says_who_is_annotated_how(space: LabelSpace, tmp_path: Path) -> None:
    source = planned(cohort_of(space), settings(file=table(tmp_path, TABLE)))
    assert told(source) == {
        "A": ("full", "full"),
        "B": ("partial", "outline"),
        "C": ("partial", "no_fluid"),
        "D": ("partial", "LR"),  # a super-class of the label table
        "V": ("full", "full"),  # what only hides spares validation and test
        "T": ("partial", "no_fluid"),  # what describes files holds everywhere
    }
    plan = Plan.of([source])
    assert plan.known == ["all", "CSF", "all but CSF", "CSF", "all but CSF", "all"]
    assert set(plan.codebook.names) >= {"LR", "BG or CSF"}
    write_plan(tmp_path / "plan.csv", plan.assignments, plan.known)
    assert read_plan(tmp_path / "plan.csv") == plan.assignments
    assert "C,1,train,partial,no_fluid,all but CSF" in (tmp_path / "plan.csv").read_text()


def test_a_table_may_have_names_of_files(space: LabelSpace, tmp_path: Path) -> None:
    source = planned(cohort_of(space), settings(file=table(tmp_path, TABLE.replace("B,", "_B.,"))))
    assert told(source)["B"] == ("partial", "outline")
    listed = planned(cohort_of(space), settings(full=("B_",), full_fraction=None))
    assert told(listed)["B"] == ("full", "full")


def test_capitals_make_no_other_annotation(space: LabelSpace, tmp_path: Path) -> None:
    text = "subject,annotation\nA,Full\nB,lr\nC,LR\nD,OUTLINE\nV,UNLABELLED\nT,full\n"
    protocols = PROTOCOLS | {"Full_twice": {"merge": ["LR"]}, "FULL_TWICE": {"merge": ["LR"]}}
    source = planned(cohort_of(space), settings(file=table(tmp_path, text), protocols=protocols))
    names = [protocol for _, protocol in told(source).values()]
    assert names == ["full", "LR", "LR", "outline", "full", "full"]
    unclear = table(tmp_path, text.replace("lr", "full_twice"))
    with pytest.raises(CohortError, match="did you mean 'Full_twice' or 'FULL_TWICE'"):
        planned(cohort_of(space), settings(file=unclear, protocols=protocols))


def test_a_background_that_nothing_tells_is_named(space: LabelSpace) -> None:
    described = {"describes": True, "convention": {0: None, 1: "L", 2: "R", 3: "CSF"}}
    asked = settings(full=["A"], protocol={"name": "p", **described})
    source = planned(cohort_of(space), asked)
    scan, item = source.of_split("train")[1]
    assert source.known(scan, item) == "all, where the background is not told"


def test_rows_of_sessions_outrank_those_of_subjects(space: LabelSpace, tmp_path: Path) -> None:
    cohort = cohort_of(space)
    cohort = replace(cohort, scans=(*cohort.scans, make_scan("T", "2", 41.0)))
    text = TABLE.replace(",annotation", "\tsession\tannotation").replace(",", "\t\t")
    file = table(tmp_path, text + "T\tses-2\toutline\n", "who.tsv")
    scans = with_annotation(cohort, settings(file=file)).scans
    assert [s.annotation and s.annotation.name for s in scans[-2:]] == ["no_fluid", "outline"]


def test_all_faults_of_a_table_are_told_together(space: LabelSpace, tmp_path: Path) -> None:
    text = "subject,annotation\nA,full\nA,outline\nX,full\nB,outlin\n,full\n"
    with pytest.raises(CohortError) as caught:
        with_annotation(cohort_of(space), settings(file=table(tmp_path, text)))
    for part in (
        "who.csv row 3: names A again, as row 2 does",
        "who.csv: names X, which the cohort does not have",
        "who.csv row 5: has the annotation 'outlin'",
        "did you mean 'outline'",
        "row 6: names no subject",
        "has no row for 4 scans with labels: sub-C_ses-1",  # B has one, which says nothing
    ):
        assert part in str(caught.value)
    collected = with_annotation(
        cohort_of(space), settings(file=table(tmp_path, text)), "collect"
    ).problems
    assert len(collected) == 5
    part = settings(file=table(tmp_path, TABLE), subset=True)
    assert len(with_annotation(cohort_of(space, "A", "B"), part).scans) == 2


def test_a_table_that_cannot_be_read_is_the_only_fault(space: LabelSpace, tmp_path: Path) -> None:
    """Nobody is said to lack a row of it."""
    path = table(tmp_path, "subject|annotation\nA|full\n")
    with pytest.raises(CohortError) as error:
        with_annotation(cohort_of(space), settings(file=path))
    assert "column" in str(error.value)
    assert "has no row" not in str(error.value)


def test_who_has_no_row_is_drawn_where_there_is_a_share(space: LabelSpace, tmp_path: Path) -> None:
    file = table(tmp_path, "subject,annotation\nA,no_fluid\n")
    asked = settings(file=file, full_fraction=0.34, protocol={"name": "p", "merge": ["LR"]})
    found = told(planned(cohort_of(space), asked))
    assert found["A"] == ("partial", "no_fluid")
    assert sorted(found[name] for name in "BCD") == [("full", "full"), *[("partial", "p")] * 2]


@pytest.mark.parametrize("as_file", [False, True])
def test_full_subjects_are_named(space: LabelSpace, tmp_path: Path, as_file: bool) -> None:
    full: Any = ["B", "sub-C_ses-1"]
    if as_file:
        full = table(tmp_path, "subject\nB\nsub-C\n")
    hidden = {"name": "p", "merge": ["LR"]}
    found = told(planned(cohort_of(space), settings(full=full, full_fraction=0.5, protocol=hidden)))
    assert [found[name][1] for name in NAMES] == ["p", "full", "full", "p", "full", "full"]
    described = {"name": "p", "missing": ["CSF"], "describes": True}
    found = told(planned(cohort_of(space), settings(full=full, protocol=described)))
    assert [found[name][1] for name in NAMES] == ["p", "full", "full", "p", "p", "p"]


def test_full_subjects_that_cannot_be(space: LabelSpace, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"annotation\.full: names X"):
        planned(cohort_of(space), settings(full=["A", "X"]))
    with pytest.raises(CohortError, match="names T, and none of them is for training"):
        planned(cohort_of(space), settings(full=["T"]))
    with pytest.raises(CohortError, match=r"annotation\.full: names B, of whom .* says 'outline'"):
        planned(cohort_of(space), settings(full=["B"], file=table(tmp_path, TABLE)))
    with pytest.raises(CohortError, match="nothing says who is fully labelled"):
        settings()
    with pytest.raises(CohortError, match="describes files, and who is fully labelled is drawn"):
        settings(full_fraction=0.1, protocol={"name": "p", "missing": ["CSF"], "describes": True})


def test_validation_follows_the_training_or_is_left_out(space: LabelSpace, tmp_path: Path) -> None:
    file = table(tmp_path, TABLE)
    found = told(planned(cohort_of(space), settings(file=file, validation="as_training")))
    assert found["V"] == ("partial", "outline")
    assert "V" not in told(planned(cohort_of(space), settings(file=file, validation="none")))
    drawn = {"file": None, "full_fraction": 0.25, "protocol": {"name": "p", "merge": ["LR"]}}
    found = told(planned(cohort_of(space), settings(**drawn, validation="as_training")))
    assert (found["V"], found["T"]) == (("partial", "p"), ("full", "full"))


@pytest.mark.parametrize(
    ("more", "stream"),
    [
        ({}, "full"),
        ({"convention": {0: "BG", 1: "CSF", 5: "GM_L", 6: "GM_R", 7: "WM"}}, "full"),
        ({"convention": {0: "BG", 1: "CSF", 5: "GM_L", 6: "GM_R", 7: "WM", 9: None}}, "full"),
        ({"convention": {0: "BG", 1: "CSF", 5: "GM", 7: "WM"}}, "partial"),
        ({"convention": {0: "BG", 1: "CSF", 5: "GM_L", 6: "GM_R"}}, "partial"),
        ({"slices": {"plane": "axial"}}, "partial"),
        ({"merge": ["GM"]}, "partial"),
        ({"missing": ["WM"]}, "partial"),
    ],
)
def test_files_that_have_every_leaf_are_full_whatever_their_integers(more, stream) -> None:
    protocol = Protocol.parse(small_space(), {"name": "lab2", "describes": True, **more})
    assert protocol.stream == stream


def test_a_convention_of_its_own_and_a_file_that_is_not_used(
    space: LabelSpace, tmp_path: Path
) -> None:
    file = table(
        tmp_path, "subject,annotation\nA,full\nB,other\nC,ignored\nD,full\nV,full\nT,full\n"
    )
    source = planned(cohort_of(space), settings(file=file))
    scans = {scan.subject: scan for scan in source.cohort.scans}
    assert scans["B"].meaning(source.cohort.convention).values == (0, 1, 2)
    assert scans["C"].label is None
    plan = Plan.of([source])
    lookup = source.lookup(scans["B"], "other", plan.codebook)
    assert [plan.codebook.names[code] for code in lookup[:3]] == ["BG", "LR", "CSF"]
    assert told(source)["C"] == ("unlabelled", "unlabelled")
    assert source.known(scans["B"], Assignment("B", "1", "train", "partial", "other")) == "CSF"


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"convention": {0: "BG"}}, "set describes: true"),
        ({"slices": {"plane": "axial"}}, "slices.share"),
        ({"slices": {"share": 0.5}, "describes": True}, "leave it out"),
    ],
)
def test_protocols_that_cannot_be(protocol: dict[str, Any], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        settings(full_fraction=1.0, protocols={"p": protocol})
    with pytest.raises(CohortError, match="'full' is taken"):
        settings(full_fraction=1.0, protocols={"full": {"merge": ["LR"]}})
