from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from cohort_scans import make_scan, make_scans

from neoseg.cohort import CohortError, Split, SplitSettings
from neoseg.cohort.split import make_split, read_split, split_cohort, subject_strata, write_splits
from neoseg.findings.settings import parse_settings


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.val), len(split.test)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (10, (8, 1, 1)),
        (24, (19, 2, 3)),
        (30, (24, 3, 3)),
        (190, (152, 19, 19)),
    ],
)
def test_sizes(number: int, expected: tuple[int, int, int]) -> None:
    assert sizes(make_split(make_scans(preterm=number))) == expected


@pytest.mark.parametrize("number", range(3, 60))
def test_every_subject_is_in_one_part_and_no_part_is_empty(number: int) -> None:
    scans = make_scans(preterm=number // 2, term=number - number // 2)
    split = make_split(scans, seed=number)
    everyone = [*split.train, *split.val, *split.test]
    assert sorted(everyone) == sorted({scan.subject for scan in scans})
    assert min(sizes(split)) >= 1


def test_a_function_of_seed_and_subjects_alone() -> None:
    scans = make_scans(preterm=20, term=15, both=8)
    expected = make_split(scans, seed=3)
    for seed in range(4):
        random.Random(seed).shuffle(scans)
        assert make_split(scans, seed=3) == expected
    assert len({make_split(scans, seed=seed) for seed in range(20)}) == 20


def test_the_draw_stays_what_it_was() -> None:
    # Published results name a seed; the same seed must give the same subjects for good.
    split = make_split(make_scans(preterm=6, term=6), seed=0)
    assert (split.val, split.test) == (("P005",), ("T005",))


@pytest.mark.parametrize("seed", range(5))
def test_age_groups_are_divided_alike(seed: int) -> None:
    scans = make_scans(preterm=60, term=30, both=20, unknown=10)
    split, strata = make_split(scans, seed=seed), subject_strata(scans)
    for part, share in ((split.train, 0.8), (split.val, 0.1), (split.test, 0.1)):
        counts = Counter(strata[subject] for subject in part)
        for stratum, number in {"preterm": 60, "term": 30, "both": 20, "unknown": 10}.items():
            assert abs(counts[stratum] - share * number) <= 1.5, (stratum, counts)


def test_over_seeds_every_subject_is_tested_about_equally_often() -> None:
    scans = make_scans(preterm=10, term=10)
    counts = Counter(s for seed in range(500) for s in make_split(scans, seed=seed).test)
    assert len(counts) == 20
    assert all(25 <= n <= 80 for n in counts.values()), counts


def test_strata() -> None:
    scans = [
        make_scan("a", "1", 30),
        make_scan("a", "2", 40),
        make_scan("b", "1", 30),
        make_scan("b", "2", None),
        make_scan("c", "1", 37),
        make_scan("d", "1", None),
        make_scan("e", "1", 30),
        make_scan("e", "2", 36.9),
    ]
    assert subject_strata(scans) == {
        "a": "both",
        "b": "preterm",
        "c": "term",
        "d": "unknown",
        "e": "preterm",
    }


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [((0, 0, 1), (0, 0, 5)), ((0.8, 0.2, 0), (4, 1, 0)), ((0.98, 0.01, 0.01), (3, 1, 1))],
)
def test_unusual_fractions(
    fractions: tuple[float, float, float], expected: tuple[int, int, int]
) -> None:
    assert sizes(make_split(make_scans(preterm=5), fractions)) == expected


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.8, 0.1, 0.2), "must be at least 0 and add up to 1"),
        ((0.5, 0.5), "Field required"),
        ((1.1, -0.1, 0.0), "must be at least 0 and add up to 1"),
        ((0.8, 0.1, 0.05), "must be at least 0 and add up to 1"),
    ],
)
def test_fractions_add_up_to_one(fractions: tuple[float, ...], message: str) -> None:
    with pytest.raises(CohortError, match=rf"split\.fractions.*{message}"):
        parse_settings(SplitSettings, {"fractions": fractions}, "split")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_fewer_subjects_than_parts(number: int) -> None:
    with pytest.raises(CohortError, match=f"ask for 3 parts, and the cohort has {number}"):
        make_split(make_scans(preterm=number))


def test_a_subject_in_two_parts_is_refused() -> None:
    with pytest.raises(CohortError, match="found b"):
        Split(("a", "b"), ("b",), ("c",))


def test_scans_of_a_part() -> None:
    scans = make_scans(both=3)
    split = make_split(scans)
    assert [s.subject for s in split.scans(scans, "val")] == [split.val[0]] * 2
    assert split.of(split.test[0]) == "test"
    assert split.of("nobody") is None


@pytest.mark.parametrize("name", ["split.csv", "split.tsv"])
def test_written_splits_are_read_again(tmp_path: Path, name: str) -> None:
    scans = [*make_scans(preterm=5, both=4), make_scan("007", None, None)]
    split = make_split(scans, seed=2)
    write_splits(tmp_path / "new" / name, [(split, scans)])
    assert read_split(tmp_path / "new" / name, scans) == split
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    lines = (tmp_path / "new" / name).read_text().splitlines()
    assert len(lines) == len(scans) + 1
    assert lines[0].replace("\t", ",") == "cohort,subject,session,split,age_group"
    settings = parse_settings(SplitSettings, {"file": str(tmp_path / "new" / name)}, "split")
    assert split_cohort(scans, settings) == split


def test_all_problems_of_a_table_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("subject,split\nsub-a,train\na,test\nb,dev\nx,val\nc,VAL\n")
    scans = [make_scan(name, None, 30) for name in "abcd"]
    with pytest.raises(CohortError) as caught:
        read_split(path, scans)
    text = str(caught.value)
    assert "puts subject a in test and train" in text
    assert "row 4: found split 'dev'" in text
    assert "names 1 subjects that the cohort does not have: x" in text
    assert "ids such as a, b, c" in text
    assert "lacks 1 subjects of the cohort: d" in text
    assert len(caught.value.problems) == 4


def test_a_part_of_the_cohort_may_use_the_whole_table(tmp_path: Path) -> None:
    scans = make_scans(preterm=9)
    write_splits(tmp_path / "split.csv", [(make_split(scans), scans)])
    with pytest.raises(CohortError, match=r"set split\.subset=true"):
        read_split(tmp_path / "split.csv", scans[:4])
    part = read_split(tmp_path / "split.csv", scans[:4], subset=True)
    whole = make_split(scans)
    kept = {scan.subject for scan in scans[:4]}
    assert set(part.train) == set(whole.train) & kept
    assert sum(sizes(part)) == 4


def test_the_settings_say_where_subjects_go_that_the_table_lacks(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("subject,split\na,train\nb,test\n")
    scans = [make_scan(name, None, 30) for name in "abcd"]
    with pytest.raises(CohortError, match=r"lacks 2 subjects .*c, d; .*set split\.others=train"):
        split_cohort(scans, SplitSettings(file=path))
    for others, expected in {
        "train": Split(("a", "c", "d"), (), ("b",)),
        "test": Split(("a",), (), ("b", "c", "d")),
    }.items():
        assert split_cohort(scans, SplitSettings(file=path, others=others)) == expected
    path.write_text("cohort,subject,split\nx,a,train\ny,b,test\n")
    others = SplitSettings(file=path, others="val")
    assert split_cohort(scans, others) == Split((), ("a", "b", "c", "d"), ())
    path.write_text("subject,split\na,dev\n")
    with pytest.raises(CohortError, match="found split 'dev'"):
        split_cohort(scans, SplitSettings(file=path, others="val"))


def test_a_table_may_have_names_of_files(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("subject,split\ncase_01,train\nsub-case-02,val\ncase03,test\n")
    scans = [make_scan(f"case0{n}", None, 30) for n in (1, 2, 3)]
    assert read_split(path, scans) == Split(("case01",), ("case02",), ("case03",))
    path.write_text("subject,split\nsub-01,train\nsub-02,val\n")
    scans = [make_scan("sub01", None, 30), make_scan("02", None, 30)]
    assert read_split(path, scans) == Split(("sub01",), ("02",), ())


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"absent\.csv: cannot be read"):
        read_split(tmp_path / "absent.csv", make_scans(preterm=3))


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = make_scans(preterm=5)
    path = tmp_path / "split.csv"
    write_splits(path, [(make_split(scans), scans)])
    before = path.read_text()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_splits(path, [(make_split(scans, seed=1), scans)])
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["split.csv"]
