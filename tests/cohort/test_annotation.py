from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cohort_scans import make_scan, make_scans

from neoseg.cohort import AnnotationSettings, Assignment, CohortError, Scan, Split
from neoseg.cohort.annotation import plan_annotation, read_plan, write_plan
from neoseg.cohort.split import make_split
from neoseg.findings.settings import parse_settings
from neoseg.labels import LabelError, LabelSpace

SCANS = make_scans(preterm=60, term=30, both=10)
SPLIT = make_split(SCANS)


def settings(**changes: Any) -> AnnotationSettings:
    raw = {"full_fraction": 0.05, "protocol": {"name": "superclass", "merge": ["TCV"]}, **changes}
    return parse_settings(AnnotationSettings, raw, "annotation")


def assign(
    scans: list[Scan], split: Split, fraction: float, draw: int, name: str, **changes: Any
) -> tuple[Assignment, ...]:
    asked = {"full_fraction": fraction, "draw": draw, "protocol": {"name": name, "merge": ["TCV"]}}
    return plan_annotation(scans, split, settings(**asked, **changes))


def subjects(assignments: tuple[Assignment, ...], stream: str) -> set[str]:
    return {a.subject for a in assignments if a.split == "train" and a.stream == stream}


@pytest.mark.parametrize(
    ("fraction", "number"), [(0.001, 1), (0.02, 2), (0.05, 4), (0.1, 8), (0.5, 40), (1.0, 80)]
)
def test_the_number_of_full_subjects(fraction: float, number: int) -> None:
    assert len(SPLIT.train) == 80
    planned = assign(SCANS, SPLIT, fraction, 0, "superclass")
    assert len(subjects(planned, "full")) == number
    assert len(subjects(planned, "partial")) == 80 - number


def test_halves_round_up() -> None:
    split = Split(tuple(s.subject for s in make_scans(preterm=10)), (), ())
    planned = assign(make_scans(preterm=10), split, 0.25, 0, "superclass")
    assert len(subjects(planned, "full")) == 3


@pytest.mark.parametrize("draw", range(5))
def test_draws_nest(draw: int) -> None:
    full = [
        subjects(assign(SCANS, SPLIT, f, draw, "p"), "full") for f in (0.02, 0.05, 0.1, 0.5, 1.0)
    ]
    assert all(smaller < larger for smaller, larger in pairwise(full))
    bare = [
        subjects(assign(SCANS, SPLIT, 0.05, draw, "p", unlabelled_fraction=f), "unlabelled")
        for f in (0.0, 0.1, 0.4, 0.9)
    ]
    assert all(smaller < larger for smaller, larger in pairwise(bare))
    assert [len(b) for b in bare] == [0, 8, 32, 72]
    assert not bare[-1] & full[1]


def test_the_unlabelled_subjects_do_not_depend_on_the_full_fraction() -> None:
    bare = [
        subjects(assign(SCANS, SPLIT, f, 0, "p", unlabelled_fraction=0.2), "unlabelled")
        for f in (0.02, 0.1, 0.5, 0.8)
    ]
    assert len(bare[0]) == 16
    assert all(other == bare[0] for other in bare)


def test_draws_differ_and_do_not_depend_on_the_order_of_files() -> None:
    shuffled = list(SCANS)
    random.Random(1).shuffle(shuffled)
    draws = [assign(SCANS, SPLIT, 0.05, draw, "p") for draw in range(5)]
    assert len({frozenset(subjects(d, "full")) for d in draws}) == 5
    assert [assign(shuffled, SPLIT, 0.05, draw, "p") for draw in range(5)] == draws


def test_over_draws_every_subject_is_full_about_equally_often() -> None:
    counts = Counter(
        s for draw in range(400) for s in subjects(assign(SCANS, SPLIT, 0.1, draw, "p"), "full")
    )
    assert len(counts) == 80
    assert all(15 <= n <= 75 for n in counts.values()), counts


def test_all_sessions_of_a_subject_are_annotated_alike() -> None:
    planned = assign(SCANS, SPLIT, 0.4, 0, "p", unlabelled_fraction=0.3)
    assert len(planned) == len(SCANS)
    streams: dict[str, set[str]] = {}
    for item in planned:
        streams.setdefault(item.subject, set()).add(item.stream)
    assert {len(found) for found in streams.values()} == {1}


def test_validation_and_test_stay_full() -> None:
    planned = assign(SCANS, SPLIT, 0.02, 0, "p", unlabelled_fraction=0.9)
    rest = {(a.stream, a.protocol) for a in planned if a.split != "train"}
    assert rest == {("full", "full")}


def test_names_of_protocols() -> None:
    planned = assign(SCANS, SPLIT, 0.1, 0, "superclass", unlabelled_fraction=0.1)
    assert {(a.stream, a.protocol) for a in planned} == {
        ("full", "full"),
        ("partial", "superclass"),
        ("unlabelled", "unlabelled"),
    }


def test_the_supervised_arm_keeps_the_same_full_subjects_alone() -> None:
    both = [assign(SCANS, SPLIT, 0.1, 3, "p", use_rest=use) for use in (True, False)]
    assert subjects(both[0], "full") == subjects(both[1], "full")
    assert {a.stream for a in both[1]} == {"full"}
    held_out = [{a for a in planned if a.split != "train"} for planned in both]
    assert held_out[0] == held_out[1]


def test_scans_without_labels_are_unlabelled_and_never_count_as_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scans = [make_scan(f"N{i}", None, 30, labelled=False) for i in range(10)]
    scans += [make_scan("L1", "1", 30), make_scan("L1", "2", 40, labelled=False)]
    scans += [make_scan("L2", "1", 30), make_scan("V", None, 30, labelled=False)]
    train = tuple(sorted({s.subject for s in scans} - {"V"}))
    split = Split(train, ("V",), ())
    for draw in range(6):
        planned = assign(scans, split, 0.5, draw, "p")
        streams = {(a.subject, a.session): a.stream for a in planned}
        assert streams["L1", "2"] == streams["V", None] == streams["N3", None] == "unlabelled"
        assert sorted([streams["L1", "1"], streams["L2", "1"]]) == ["full", "partial"]
        supervised = assign(scans, split, 1.0, draw, "p", use_rest=False)
        assert {(a.subject, a.session) for a in supervised if a.split == "train"} == {
            ("L1", "1"),
            ("L2", "1"),
        }
    assert {r.args for r in caplog.records if r.levelname == "WARNING"} == {("val",)}


def test_an_unlabelled_protocol_gives_the_unlabelled_stream() -> None:
    asked = settings(protocol={"name": "unlabelled", "unlabelled": True})
    planned = plan_annotation(SCANS, SPLIT, asked)
    assert len(subjects(planned, "unlabelled")) == 76
    assert subjects(planned, "partial") == set()


def test_the_protocol_full_hides_nothing_and_can_still_be_left_out() -> None:
    asked = {"full_fraction": 0.1, "protocol": {"name": "full"}}
    assert len(subjects(plan_annotation(SCANS, SPLIT, settings(**asked)), "full")) == 80
    supervised = plan_annotation(SCANS, SPLIT, settings(**asked, use_rest=False))
    assert len(subjects(supervised, "full")) == 8


def test_plans_that_cannot_be() -> None:
    with pytest.raises(CohortError, match="lacks the subjects NEW"):
        assign([*SCANS, make_scan("NEW", None, 30)], SPLIT, 0.1, 0, "p")
    with pytest.raises(CohortError, match="no subject with labels among its 1"):
        assign([make_scan("A", None, 30, labelled=False)], Split(("A",), (), ()), 0.1, 0, "p")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"full_fraction": 0}, r"annotation\.full_fraction: found 0"),
        ({"full_fraction": 1.1}, r"annotation\.full_fraction"),
        ({"full_fraction": 0.6, "unlabelled_fraction": 0.5}, "add up to 1.1"),
        ({"draw": -1}, r"annotation\.draw"),
        ({"fraction": 0.1}, r"annotation\.fraction"),
        ({"protocol": {"name": "p", "depth": 2}}, r"annotation\.protocol\.depth"),
        ({"protocol": {"name": "full", "merge": ["TCV"]}}, "'full' is taken"),
        ({"protocol": {"name": "unlabelled"}}, "'unlabelled' is taken"),
        ({"protocol": {"name": "p"}, "protocols": {"p": {"merge": ["TCV"]}}}, "'p' is taken"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        settings(**changes)


def test_a_protocol_may_be_defined_twice_alike(drawem9: LabelSpace) -> None:
    """As where a plan's table uses the protocol that the experiment sets."""
    merged = {"merge": ["TCV"]}
    asked = settings(protocol={"name": "p", **merged}, protocols={"p": merged})
    assert (
        asked.resolved(drawem9)["p"]
        == settings(protocol={"name": "p", **merged}).resolved(drawem9)["p"]
    )


def test_protocols_of_a_plan(drawem9: LabelSpace) -> None:
    protocols = settings().resolved(drawem9)
    assert set(protocols) == {"full", "unlabelled", "superclass"}
    assert protocols["superclass"].sets[7] == frozenset([2, 3, 7])
    assert set(protocols["unlabelled"].sets) == {drawem9.everything}
    with pytest.raises(LabelError, match="cortex"):
        settings(protocol={"name": "p", "merge": ["cortex"]}).resolved(drawem9)


@pytest.mark.parametrize("name", ["plan.csv", "plan.tsv"])
def test_written_plans_are_read_again(tmp_path: Path, name: str) -> None:
    scans = [*SCANS, make_scan("007", None, 30)]
    split = Split((*SPLIT.train, "007"), SPLIT.val, SPLIT.test)
    planned = assign(scans, split, 0.1, 0, "superclass", unlabelled_fraction=0.1)
    write_plan(tmp_path / name, planned)
    assert read_plan(tmp_path / name) == planned


def test_all_problems_of_a_plan_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_text(
        "subject,session,split,stream,protocol\n"
        "a,1,train,full,full\na,1,train,full,full\nb,,dev,half,full\n"
    )
    with pytest.raises(CohortError) as caught:
        read_plan(path)
    text = str(caught.value)
    assert all(part in text for part in ("row 3: names the scan", "split 'dev'", "stream 'half'"))
