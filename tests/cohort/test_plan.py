from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cohort_scans import make_scan, make_scans

from neoseg.cohort import Cohort, CohortError, Plan, Scan, Source
from neoseg.cohort.annotation import ExtraAnnotationSettings, plan_annotation, read_plan, write_plan
from neoseg.cohort.split import make_split, read_split, write_splits
from neoseg.cohort.streams import compared
from neoseg.findings.settings import parse_settings
from neoseg.labels import Convention, LabelError, LabelSpace, Protocol


def source(
    space: LabelSpace,
    name: str,
    scans: list[Scan],
    meaning: dict[int, object] | None = None,
    **annotation: object,
) -> Source:
    convention = Convention.from_mapping(space, meaning) if meaning else Convention.identity(space)
    scans = [replace(scan, cohort=name) for scan in scans]
    settings = parse_settings(ExtraAnnotationSettings, annotation, "annotation")
    split = make_split(scans)
    plan = plan_annotation(scans, split, settings)
    return Source(
        Cohort(name, tuple(scans), convention, ("T2w",)), split, plan, settings.resolved(space)
    )


def test_the_codebook_is_the_union_over_conventions_and_protocols(space: LabelSpace) -> None:
    merged = {"full_fraction": 0.1, "protocol": {"name": "p", "merge": ["LR"]}}
    first = source(space, "a", make_scans(preterm=10), **merged)
    other = source(space, "b", make_scans(term=10), {0: "BG", 7: ["R", "CSF"], 8: "L", 9: None})
    both = Plan.of([first, other])
    sets = set(both.codebook.sets)
    assert space.label_set("LR") in sets
    assert space.label_set(["R", "CSF"]) in sets
    # A flipped target must stay expressible.
    assert space.label_set(["L", "CSF"]) in sets
    assert len(sets) == len(Plan.of([first]).codebook.sets) + 2
    lookup = both.sources[1].lookup(make_scan("x", None, 40), "full", both.codebook)
    assert [both.codebook.sets[code] for code in lookup[:4]] == [
        space.label_set("BG"),
        space.label_set(["R", "CSF"]),
        space.label_set("L"),
        space.everything,
    ]


def test_what_no_integer_stands_for_may_be_in_the_background(space: LabelSpace) -> None:
    """A table without fluid cannot say that a voxel is none; null says nothing either."""
    meaning = {0: "BG", 1: "L", 2: "R", 9: None}
    merged = {"full_fraction": 0.5, "protocol": {"name": "p", "merge": [["L", "R", "CSF"]]}}
    lacking = source(space, "a", make_scans(preterm=10), meaning, **merged)
    codebook = Plan.of([lacking]).codebook
    scan, item = lacking.of_split("train")[0]
    background = space.label_set(["BG", "CSF"])
    for protocol, known in {"full": "L", "p": ["L", "R", "CSF"]}.items():
        codes = lacking.lookup(scan, protocol, codebook)
        sets = [codebook.sets[code] for code in codes[:2]]
        assert sets == [background, space.label_set(known)]
    full = replace(item, protocol="full")
    assert lacking.known(scan, full) == "all but CSF"
    told = source(space, "a", make_scans(preterm=10), meaning | {99: "CSF"})
    assert told.told(scan, "full")[0] == {space.background}
    # A protocol that describes files says of the background what it may be.
    described = Protocol.parse(space, {"name": "d", "merge": ["LR"], "describes": True})
    outline = replace(scan, annotation=described)
    meaning = Convention.from_mapping(space, {0: "BG", 1: "L", 3: "CSF"})
    assert outline.undrawn(meaning) == frozenset()
    assert outline.sets(meaning) == tuple(map(space.label_set, ("BG", "LR", "CSF")))


def test_the_order_of_further_cohorts_does_not_matter(space: LabelSpace) -> None:
    a, b, c = (source(space, name, make_scans(preterm=10)) for name in "abc")
    assert Plan.of([b, c, a]) == Plan.of([b, a, c])
    assert [s.cohort.name for s in Plan.of([b, c, a]).sources] == ["b", "a", "c"]


def test_two_cohorts_of_one_name_are_an_error(space: LabelSpace) -> None:
    twins = [source(space, "a", make_scans(preterm=10)) for _ in range(2)]
    with pytest.raises(CohortError, match="a is the name of two cohorts"):
        Plan.of(twins)


def test_what_was_not_drawn_is_open_in_these_scans_alone(space: LabelSpace) -> None:
    fluid = space.label_set("CSF")
    scans = [replace(s, not_drawn=fluid) if s.subject < "P005" else s for s in make_scans(10)]
    part = source(space, "a", scans, full_fraction=0.3, protocol={"name": "p", "merge": ["LR"]})
    full = {item.subject for item in part.assignments if item.stream == "full"}
    drawn = {s.subject for s in scans if not s.not_drawn}
    train = set(part.split.train)
    assert full & train <= drawn
    codebook = Plan.of([part]).codebook
    first, last = scans[0], scans[-1]
    for protocol in ("full", "p"):
        background = codebook.sets[part.lookup(first, protocol, codebook)[0]]
        assert background == space.label_set(["BG", "CSF"])
        assert codebook.sets[part.lookup(last, protocol, codebook)[0]] == {space.background}
        known = [part.lookup(scan, protocol, codebook)[1:4].tolist() for scan in (first, last)]
        assert known[0] == known[1]


def test_too_many_label_sets_name_the_cohorts(drawem87: LabelSpace) -> None:
    leaves = [leaf.index for leaf in drawem87.leaves]
    first = source(drawem87, "a", make_scans(preterm=10))
    pairs = {v: [leaves[v % 80], leaves[(v % 80) + 1 + v // 80]] for v in range(250)}
    other = source(drawem87, "b", make_scans(preterm=10), pairs)
    with pytest.raises(LabelError, match=r"at most 256 fit.*the cohorts tell: 'a' 89, 'b' 251"):
        Plan.of([first, other])


def test_subjects_of_one_name_in_two_cohorts_stay_apart(space: LabelSpace, tmp_path: Path) -> None:
    both = Plan.of([source(space, name, make_scans(preterm=10)) for name in "ab"])
    for part in ("train", "val", "test"):
        pairs = both.of_split(part)
        assert [scan.cohort for scan, _ in pairs] == [item.cohort for _, item in pairs]
        assert all((s.subject, s.cohort) == (a.subject, a.cohort) for s, a in pairs)
    write_plan(tmp_path / "annotation.csv", both.assignments)
    assert read_plan(tmp_path / "annotation.csv") == both.assignments
    assert len(both.assignments) == 20


def test_a_table_of_both_splits_serves_each_cohort(space: LabelSpace, tmp_path: Path) -> None:
    scans = {name: [replace(s, cohort=name) for s in make_scans(preterm=9)] for name in "ab"}
    splits = {name: make_split(scans[name], seed=n) for n, name in enumerate("ab")}
    assert splits["a"] != splits["b"]
    path = tmp_path / "split.csv"
    write_splits(path, [(splits[name], scans[name]) for name in "ab"])
    assert all(read_split(path, scans[name]) == splits[name] for name in "ab")
    # The table of one cohort serves scans that are called otherwise now.
    write_splits(path, [(splits["a"], scans["a"])])
    assert read_split(path, scans["b"]) == splits["a"]


def test_plans_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_text("subject,session,split,stream,protocol\na,1,train,full,full\n")
    (item,) = read_plan(path, "dhcp")
    assert (item.cohort, item.subject, item.session) == ("dhcp", "a", "1")


def test_a_whole_cohort_without_labels(space: LabelSpace) -> None:
    bare = [make_scan(f"{number}", None, 30, labelled=False) for number in range(10)]
    annotation = {"full_fraction": 0.05, "protocol": {"name": "unlabelled", "unlabelled": True}}
    for asked in (annotation, {"full_fraction": 0.0}):
        found = source(space, "b", bare, **asked)
        assert {item.stream for item in found.assignments} == {"unlabelled"}
    with pytest.raises(CohortError, match="no subject with labels"):
        source(space, "b", bare)


def test_an_extra_cohort_may_have_no_full_subject(space: LabelSpace) -> None:
    asked = {"full_fraction": 0.0, "protocol": {"name": "coarse"}}
    found = source(space, "b", make_scans(preterm=10), **asked)
    train = [item for item in found.assignments if item.split == "train"]
    assert {item.stream for item in train} == {"partial"}
    assert found.protocols["coarse"].sets == Protocol.full(space).sets


def test_files_of_the_first_cohort_lie_on_top(space: LabelSpace) -> None:
    both = Plan.of([source(space, name, make_scans(preterm=10)) for name in "ba"])
    folders = [both.folder(Path("run"), part) for part in both.keeping(lambda _: True).sources]
    assert folders == [Path("run"), Path("run/cohorts/a")]


def test_keeping_leaves_the_codebook(space: LabelSpace) -> None:
    merged = {"full_fraction": 0.1, "protocol": {"name": "p", "merge": ["LR"]}}
    whole = Plan.of([source(space, "a", make_scans(preterm=10), **merged)])
    full = whole.keeping(lambda item: item.stream == "full")
    assert full.codebook == whole.codebook
    assert 0 < len(full.assignments) < len(whole.assignments)


LEFT_ALONE = {0: "BG", 1: "L"}


def streams(planned: Source, split: str = "train") -> set[str]:
    return {item.stream for item in planned.assignments if item.split == split}


def test_files_that_tell_less_than_those_of_another_cohort_are_not_full(space: LabelSpace) -> None:
    """Data sets of one structure each beside one of all: only the latter can be atlases."""
    whole = source(space, "a", make_scans(preterm=10))
    left = source(space, "b", make_scans(term=10), LEFT_ALONE)
    right = source(space, "c", make_scans(term=10), {0: "BG", 1: "R"})
    assert streams(left) == {"full"}
    assert [streams(item) for item in compared((whole, left, right), (True,) * 3)] == [
        {"full"},
        {"partial"},
        {"partial"},
    ]
    # They are scored by what they show, as before.
    assert {
        streams(item, "test") == {"full"} for item in compared((whole, left), (True, True))
    } == {True}
    # Neither of these tells all that the other does.
    assert {*map(frozenset, map(streams, compared((left, right), (True, True))))} == {
        frozenset({"full"})
    }


@pytest.mark.parametrize(("meaning", "stream"), [(LEFT_ALONE, "partial"), (None, "full")])
def test_described_files_are_full_if_their_integers_tell_everything(
    space: LabelSpace, meaning: dict[int, str] | None, stream: str
) -> None:
    described = Protocol.parse(space, {"name": "drawn", "describes": True})
    scans = [replace(scan, annotation=described) for scan in make_scans(preterm=10)]
    planned = source(space, "a", scans, *([] if meaning is None else [meaning]))
    assert [streams(item) for item in compared((planned,), (True,))] == [{stream}]
    assert [streams(item) for item in compared((planned,), (False,))] == [{stream} & {"full"}]


def test_only_cohorts_that_train_in_full_are_compared_with(space: LabelSpace) -> None:
    left = source(space, "a", make_scans(preterm=10), LEFT_ALONE)
    coarse = {"full_fraction": 0.0, "protocol": {"name": "p", "merge": ["LR"]}}
    hidden = source(space, "b", make_scans(term=10), **coarse)
    whole = source(space, "c", make_scans(term=10))
    tested = replace(whole, assignments=tuple(a for a in whole.assignments if a.split == "test"))
    for other in (hidden, tested):
        for use_rest in (True, False):
            assert streams(next(compared((left, other), (use_rest, True)))) == {"full"}


def test_the_rest_of_a_cohort_may_be_left_out_by_itself(space: LabelSpace) -> None:
    whole = source(space, "a", make_scans(preterm=10))
    left = source(space, "b", make_scans(term=10), LEFT_ALONE)
    found = list(compared((whole, left), (True, False)))
    assert [streams(item) for item in found] == [{"full"}, set()]


def test_a_run_on_full_scans_alone_takes_no_others_of_extra_cohorts(
    space: LabelSpace, caplog: pytest.LogCaptureFixture
) -> None:
    whole = source(space, "a", make_scans(preterm=10))
    left = source(space, "b", make_scans(term=10), LEFT_ALONE)
    coarse = {"full_fraction": 0.5, "protocol": {"name": "p", "merge": ["LR"]}}
    mixed = source(space, "c", make_scans(term=10), **coarse)
    caplog.set_level("INFO")
    found = list(compared((whole, left, mixed), (False,) * 3))
    assert [streams(item) for item in found] == [{"full"}, set(), {"full"}]
    assert [streams(item, "test") for item in found] == [{"full"}] * 3
    assert "cohort 'b': 8 training scans are not full, and left out" in caplog.text
    assert "since the label files of 'a' tell more structures apart" in caplog.text
