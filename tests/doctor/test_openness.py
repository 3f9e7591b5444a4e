"""What label files leave open although nothing says so, and the settings that settle it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from broken_cohorts import EXAMPLES, Example, examine, head, save, write_cohort
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from small_cohort import annotate_cohort, small_space
from small_cohort import save as save_small
from small_cohort import write_cohort as write_small

from neoseg.cohort import Plan, Problem
from neoseg.cohort.table import write_rows
from neoseg.doctor.cohort import unseen_leaves
from neoseg.doctor.examination import findings_of_plan
from neoseg.doctor.openness import without_integer
from neoseg.labels import Convention, Protocol
from neoseg.store import PrepareSettings
from neoseg.store.store import Store


def broken(tmp_path: Path, kind: str) -> Example:
    example = write_cohort(tmp_path / "cohort")
    EXAMPLES[kind](example)
    return example


def settings_of(action: str) -> dict[str, Any]:
    """The settings in a message, as a shell and Hydra read them."""
    words = [word for word in shlex.split(action) if "=" in word]
    config = OmegaConf.create({})
    for override in OverridesParser.create().parse_overrides(words):
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def told(example: Example, tmp_path: Path, kind: str) -> list[Problem]:
    found = examine(example, tmp_path / "store").problems
    assert all(problem.severity == "warning" for problem in found)
    return [problem for problem in found if problem.kind == kind]


def test_a_structure_without_an_integer_is_told_and_can_be_denied(tmp_path: Path) -> None:
    example = broken(tmp_path, "no-integer")
    (problem,) = told(example, tmp_path, "no-integer")
    assert "3 of 3 scans have no integer for dGM" in problem.found
    example.options |= settings_of(problem.action)["cohort"]
    assert not told(example, tmp_path, "no-integer")


def test_structures_without_an_integer_are_told_once_however_many(tmp_path: Path) -> None:
    example = broken(tmp_path, "full-but-coarse")
    example.options["convention"] = {0: 0, 4: 4}
    for number in (1, 2, 3):
        lesion = np.where(head(number)[1] == 4, 4, 0)
        save(example.file("dseg", f"0{number}"), lesion.astype(np.uint8))
    assert len(told(example, tmp_path, "no-integer")) == 1
    assert not told(example, tmp_path, "full-but-coarse")


def test_an_integer_of_a_whole_beside_its_part_may_be_the_remainder(tmp_path: Path) -> None:
    """As where a data set names the organ and the tumour in it."""
    example = write_cohort(tmp_path / "cohort")
    example.options["convention"] = {0: 0, 1: 1, 2: "TCV", 3: "WM", 4: "dGM"}
    (problem,) = told(example, tmp_path, "leaf-never-shown")
    assert "only merged with others: cGM" in problem.found
    assert "the integer 2, which is taken for TCV" in problem.action
    example.options |= settings_of(problem.action)["cohort"]
    assert example.options["convention"][2] == "cGM"
    assert not told(example, tmp_path, "leaf-never-shown")
    # With two structures left nothing can be said, and nor can it where scans show the leaf.
    example.options["convention"] = {0: 0, 1: 1, 2: "TCV", 3: "TCV", 4: "dGM"}
    (problem,) = told(example, tmp_path, "leaf-never-shown")
    assert "cohort.convention" not in problem.action


def test_two_remainders_of_a_cohort_are_one_setting() -> None:
    """As of liver and pancreas, each with its tumour."""
    space = small_space()
    integers = {0: "BG", 1: "GM", 2: "GM_L", 3: ["CSF", "WM"], 4: "CSF"}
    meaning = Convention.from_mapping(space, integers)
    (problem,) = unseen_leaves(space, meaning.sets, {"": meaning})
    found = settings_of(problem.action)["cohort"]["convention"]
    assert found == {0: "BG", 1: "GM_R", 2: "GM_L", 3: "WM", 4: "CSF"}
    assert problem.action.count("cohort.convention") == 1


def test_the_integers_of_a_protocol_are_told_as_such(tmp_path: Path) -> None:
    cohort = write_small(tmp_path, 2)
    some = Convention.from_mapping(cohort.convention.space, {0: "BG", 1: "GM", 3: "WM"})
    full = Protocol.full(cohort.convention.space)
    protocol = replace(full, name="own", describes=True, convention=some)
    own = replace(cohort.scans[0], annotation=protocol)
    (problem,) = without_integer(cohort, (own, cohort.scans[1]))
    assert "1 of 2 scans have no integer for CSF" in problem.found
    assert "{0: BG, 1: GM, 2: CSF, 3: WM} as the convention of their protocol" in problem.action


def test_what_is_said_to_be_undrawn_needs_no_integer(tmp_path: Path) -> None:
    example = broken(tmp_path, "no-integer")
    example.options["not_drawn"] = {"dGM": "all"}
    assert not told(example, tmp_path, "no-integer")


def test_scans_of_mostly_regions_are_told_with_what_says_so(tmp_path: Path) -> None:
    example = broken(tmp_path, "full-but-coarse")
    (problem,) = told(example, tmp_path, "full-but-coarse")
    assert "2 scans that count as annotated in full" in problem.found
    example.annotation = {"full_fraction": 1.0, **settings_of(problem.action)["annotation"]}
    assert not examine(example, tmp_path / "store").problems


def test_a_background_that_may_be_most_structures_is_a_region_too(tmp_path: Path) -> None:
    """As in files of one structure, in a table that has others, whose 0 is said to be the rest."""
    example = broken(tmp_path, "full-but-coarse")
    example.options["convention"] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: [0, 1, 2, 3]}
    for subject in ("01", "02"):
        labels = head(int(subject) - 1)[1]
        save(example.file("dseg", subject), np.where(labels == 4, 4, 7).astype(np.uint8))
    (problem,) = told(example, tmp_path, "full-but-coarse")
    assert "2 scans that count as annotated in full" in problem.found
    example.annotation = {"full_fraction": 1.0, **settings_of(problem.action)["annotation"]}
    assert not told(example, tmp_path / "again", "full-but-coarse")


def test_where_all_scans_show_regions_some_have_to_be_drawn(tmp_path: Path) -> None:
    example = broken(tmp_path, "full-but-coarse")
    labels = head(2)[1]
    save(example.file("dseg", "03"), np.where(labels > 1, 5, labels).astype(np.uint8))
    (problem,) = told(example, tmp_path, "full-but-coarse")
    assert "3 scans that count" in problem.found
    assert "draw some in full, and name those by annotation.full" in problem.action
    example.annotation = {"full_fraction": 1.0, **settings_of(problem.action)["annotation"]}
    assert example.annotation["full"] == []
    assert not told(example, tmp_path / "again", "full-but-coarse")


def test_regions_beside_their_parts_are_told_without_a_protocol(tmp_path: Path) -> None:
    """Nothing describes a file with one part drawn and the rest as the whole; nobody is full."""
    example = broken(tmp_path, "full-but-coarse")
    for subject in ("01", "02"):
        labels = head(int(subject) - 1)[1]
        rest = np.where((labels > 1) & (labels != 4), 5, labels).astype(np.uint8)
        save(example.file("dseg", subject), rest)
    (problem,) = told(example, tmp_path, "full-but-coarse")
    assert "2 scans that count" in problem.found
    assert "no protocol describes these files" in problem.action


def test_regions_that_overlap_need_a_protocol_for_each_kind(tmp_path: Path) -> None:
    example = broken(tmp_path, "full-but-coarse")
    example.options["convention"] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: "TCV", 6: [1, 2]}
    labels = head(0)[1]
    regions = np.where(labels > 1, 5, labels * 6).astype(np.uint8)
    save(example.file("dseg", "01"), regions)
    (problem,) = told(example, tmp_path, "full-but-coarse")
    assert "annotation=table, with a protocol for each kind of file" in problem.action


@pytest.mark.parametrize(
    ("lost", "subjects", "is_told"),
    [
        ((3, 4), ("03",), True),
        ((4,), ("03",), False),
        ((1, 4), ("03",), False),
        ((3, 4), ("02", "03"), False),
    ],
)
def test_files_without_the_highest_integers_may_follow_another_table(
    tmp_path: Path, lost: tuple[int, ...], subjects: tuple[str, ...], is_told: bool
) -> None:
    example = write_cohort(tmp_path / "cohort")
    (example.root / "dseg.tsv").unlink()
    example.options["convention"] = "identity"
    for subject in subjects:
        labels = head(int(subject) - 1)[1]
        save(example.file("dseg", subject), np.where(np.isin(labels, lost), 2, labels))
    (problem,) = told(example, tmp_path, "structure-not-drawn")
    before, _, protocol = problem.action.partition("has the names of that table, such as ")
    assert bool(protocol) == ("3, 4 are the highest integers" in before) == is_told
    if not is_told:
        return
    described = yaml.safe_load(protocol)
    assert described == {"describes": True, "convention": {0: "BG", 1: "CSF", 2: "cGM"}}
    table = tmp_path / "who.csv"
    write_rows(table, ["subject", "annotation"], [["01", "full"], ["02", "full"], ["03", "feta"]])
    example.annotation = {
        "full_fraction": None,
        "protocol": {"name": "other"},
        "file": table,
        "protocols": {"feta": described},
    }
    assert not told(example, tmp_path, "structure-not-drawn")
    (problem,) = told(example, tmp_path, "no-integer")
    assert "1 of 3 scans have no integer for WM, dGM" in problem.found


def test_integers_that_look_like_other_structures_are_told(tmp_path: Path) -> None:
    example = broken(tmp_path, "other-integers")
    (problem,) = told(example, tmp_path, "other-integers")
    assert "(3 (WM) like dGM, 4 (dGM) like WM) in 1 of 3: " in problem.found
    assert "sub-02_dseg.nii.gz" in problem.found
    described = yaml.safe_load(problem.action[problem.action.index("{describes") :])
    meaning = {0: "BG", 1: "CSF", 2: "cGM", 3: "dGM", 4: "WM"}
    assert described == {"describes": True, "convention": meaning}
    protocol = {"name": "other", **described}
    full = ["01", "03"]
    example.annotation = {"full_fraction": None, "full": full, "protocol": protocol}
    assert not told(example, tmp_path, "other-integers")


def test_a_large_or_lost_structure_is_no_other_one(tmp_path: Path) -> None:
    example = write_cohort(tmp_path / "cohort")
    labels = head(1)[1]
    save(example.file("dseg", "02"), np.where(labels == 3, 4, labels))  # nothing but deep grey
    save(example.file("dseg", "03"), np.where(head(2)[1] == 2, 1, head(2)[1]))
    assert not told(example, tmp_path, "other-integers")
    for subject in ("01", "03"):
        save(example.file("dseg", subject), head(2)[1])
    few = np.where(labels > 2, labels - 2, 0).astype(np.uint8)  # 1 and 2 like white and deep grey
    save(example.file("dseg", "02"), few)
    assert not told(example, tmp_path, "other-integers")


def test_structures_that_no_test_scan_shows_are_told_once_for_all_cohorts(tmp_path: Path) -> None:
    plan, store = two_cohorts(tmp_path, None)
    first, other = plan.sources
    problems = of_kind(findings_of_plan(plan, store, mirrored=False), "leaf-never-tested")
    assert problems == []  # there is no test
    for tested, count in ((first, 0), (other, 1)):
        items = [replace(tested.assignments[0], split="test"), *tested.assignments[1:]]
        changed = replace(tested, assignments=tuple(items))
        split = replace(plan, sources=tuple(changed if s is tested else s for s in plan.sources))
        problems = of_kind(findings_of_plan(split, store, mirrored=False), "leaf-never-tested")
        assert len(problems) == count
    assert "no test scan shows WM" in problems[0].found


def two_cohorts(tmp_path: Path, meaning: dict[int, object] | None) -> tuple[Plan, Store]:
    """Two cohorts, of which the files of the second show no white matter."""
    sources = []
    for name in ("first", "other"):
        cohort = write_small(tmp_path / name, 2)
        cohort = replace(
            cohort, name=name, scans=tuple(replace(s, cohort=name) for s in cohort.scans)
        )
        if name == "other":
            for number, scan in enumerate(cohort.scans):
                assert scan.label is not None
                cut = np.random.default_rng(number).choice([0, 1, 11, 12], (20, 24, 18))
                save_small(scan.label, cut.astype(np.uint8))
            if meaning is not None:
                convention = Convention.from_mapping(cohort.convention.space, meaning)
                cohort = replace(cohort, convention=convention)
        sources.append(annotate_cohort(cohort, ["full"] * 2, ["train"] * 2).sources[0])
    return Plan.of(sources), Store(tmp_path / "store", PrepareSettings())


def of_kind(problems: list[Problem], kind: str) -> list[Problem]:
    return [problem for problem in problems if problem.kind == kind]


def test_what_one_cohort_shows_and_another_does_not_is_told(tmp_path: Path) -> None:
    plan, store = two_cohorts(tmp_path, None)
    (problem,) = of_kind(findings_of_plan(plan, store, mirrored=False), "structure-not-drawn")
    assert "cohort 'other'" in problem.where
    assert "2 of 2 scans have no voxel of WM" in problem.found
    assert "'++extra_cohorts.other.cohort.not_drawn={WM: all}'" in problem.action
    # White matter that was drawn as grey: not_drawn would open the background alone.
    told = yaml.safe_load(problem.action[problem.action.index("{describes") :])
    space = plan.space
    protocol = Protocol.parse(space, {"name": "as_one", **told})
    assert protocol.convention is not None
    white, whole = space.label_set("WM"), space.label_set("TCV")
    assert [s for s in protocol.convention.sets if s & whole] == [whole, whole, white]


def test_what_one_cohort_has_no_integer_for_is_told(tmp_path: Path) -> None:
    plan, store = two_cohorts(tmp_path, {0: "BG", 1: "CSF", 11: "GM_L", 12: "GM_R"})
    problems = findings_of_plan(plan, store, mirrored=False)
    assert not of_kind(problems, "structure-not-drawn")
    (problem,) = of_kind(problems, "no-integer")
    assert "the label files of 2 of 2 scans have no integer for WM" in problem.found
    key = "++extra_cohorts.other.cohort.convention"
    assert f"'{key}={{0: BG, 1: CSF, 2: WM, 11: GM_L, 12: GM_R}}'" in problem.action
    other = plan.sources[1]
    sets = other.told(other.cohort.scans[0], "full")
    assert sets[0] == plan.space.label_set(["BG", "WM"])


def test_images_that_two_cohorts_have_with_other_labels_are_told(tmp_path: Path) -> None:
    plan, store = two_cohorts(tmp_path, None)
    (problem,) = of_kind(findings_of_plan(plan, store, mirrored=False), "duplicate-image")
    assert problem.where == "cohort 'other'"
    assert "has 2 images that cohort 'first' has with other labels" in problem.found
    first, other = plan.sources
    for old, new in zip(first.cohort.scans, other.cohort.scans, strict=True):
        labels = np.asarray(nib.load(old.label).dataobj)
        save_small(new.label, np.where(labels > 10, 11, labels).astype(np.uint8))
    exchanged = other.cohort.scans[0].label
    labels = np.asarray(nib.load(first.cohort.scans[0].label).dataobj)
    save_small(exchanged, np.where(labels == 11, 12, labels).astype(np.uint8))
    share = (labels == 11).sum() / (labels > 0).sum()
    (problem,) = of_kind(findings_of_plan(plan, store, mirrored=False), "duplicate-image")
    assert f"sub-00 ({share:.1%})" in problem.found
    save_small(exchanged, np.where(labels > 10, 11, labels).astype(np.uint8))
    whole = {0: "BG", 1: "CSF", 11: "TCV"}  # as one, which says the same
    coarse = replace(other.cohort, convention=Convention.from_mapping(plan.space, whole))
    agreeing = Plan.of([first, replace(other, cohort=coarse)])
    assert not of_kind(findings_of_plan(agreeing, store, mirrored=False), "duplicate-image")
