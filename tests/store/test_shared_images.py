"""Images that two cohorts of a training have in common."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from small_cohort import annotate_cohort, write_cohort

from neoseg.cohort import Plan
from neoseg.labels import Convention
from neoseg.store import DataError, PrepareSettings
from neoseg.store.leaks import Member
from neoseg.store.shared_images import tell_shared_images
from neoseg.store.store import Store

SPLITS = ("train", "train", "test", "train")


def plan_of(root: Path, streams: Sequence[str], more: int = 0) -> Plan:
    """Four people in cohort `old`, annotated as `streams`, and again in full, with others."""
    sources = []
    for name, number in (("old", 4), ("new", 4 + more)):
        cohort = write_cohort(root / name, number)
        scans = tuple(replace(scan, cohort=name) for scan in cohort.scans)
        kinds = [*streams] if name == "old" else ["full"] * number
        splits = [*SPLITS, *["train"] * (number - 4)]
        cohort = replace(cohort, name=name, scans=scans)
        sources.append(annotate_cohort(cohort, kinds, splits).sources[0])
    return Plan.of(sources)


def members_of(plan: Plan, root: Path) -> list[Member]:
    store = Store(root / "store", PrepareSettings(locations=50))
    return [
        Member(item.scan, part, item.digest, item.signature)
        for source in plan.sources
        for part in ("train", "val", "test")
        for item in store.examine(source.cohort, [scan for scan, _ in source.of_split(part)])
    ]


def test_what_one_hides_and_the_other_shows_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of(tmp_path, ("full", "partial", "full", "unlabelled"), more=1)
    members = members_of(plan, tmp_path)
    for leaks in ("stop", "namesakes"):
        with pytest.raises(DataError) as told:
            tell_shared_images(plan, members, leaks)
        assert "cohort 'new' has 4 images that cohort 'old' has too: sub-00, sub-01" in str(told)
    text = str(told.value)
    assert "the test scores 1 of them twice" in text
    assert (
        "the annotation of 'old' hides CSF, GM_L, GM_R, WM in 2 of them that are trained on, "
        "where 'new' shows them" in text
    )
    (line,) = re.findall(r"'(\+\+.*?)'", text)
    assert line == "++extra_cohorts.new.cohort.exclude=[sub-00,sub-01,sub-02,sub-03]"
    tell_shared_images(plan, members, "tell")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_is_in_full_twice_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of(tmp_path, ["full"] * 4)
    tell_shared_images(plan, members_of(plan, tmp_path), "stop")
    (told,) = [record.getMessage() for record in caplog.records]
    assert "has 4 images that cohort 'old' has too" in told
    assert "taking extra_cohorts.new, all of whose scans they are, out of the command" in told
    assert "hides" not in told
    assert "leaks" not in told


def test_what_files_do_not_tell_is_not_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One cohort drew the brain as a whole, the other its parts: both may teach."""
    plan = plan_of(tmp_path, ("partial",) * 4)
    old, new = plan.sources
    meaning = {0: "BG", 1: "CSF", 11: "TCV", 12: "TCV", 20: "TCV"}
    convention = Convention.from_mapping(plan.space, meaning)
    coarse = replace(old, cohort=replace(old.cohort, convention=convention))
    plan = Plan.of([coarse, new])
    tell_shared_images(plan, members_of(plan, tmp_path), "stop")
    assert "has 4 images" in caplog.text


def test_images_of_others_are_nothing_to_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of(tmp_path, ("partial",) * 4, more=2)
    source = plan.sources[1]
    others = replace(source, cohort=replace(source.cohort, scans=source.cohort.scans[4:]))
    plan = Plan.of([plan.sources[0], others])
    tell_shared_images(plan, members_of(plan, tmp_path), "stop")
    assert not caplog.records
