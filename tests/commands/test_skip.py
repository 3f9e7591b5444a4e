"""A training can go on without scans that have errors, and records which and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from neoseg.cohort import CohortError, read_split
from neoseg.configuration.assembly import (
    annotated_of,
    cohort_of,
    space_of,
    split_of,
    usable_cohort_of,
)
from neoseg.findings.settings import ConfigError
from neoseg.runs.description import describe
from neoseg.runs.run import _planned


@pytest.fixture
def tree(tmp_path: Path, compose_train: Callable[..., DictConfig]) -> Path:
    """The phantom in a folder of its own, with one label file cut off and one image empty."""
    config = compose_train()
    scans = cohort_of(config, space_of(config)).scans
    image = scans[0].images[0]
    assert image is not None
    pipeline = image.parents[3]
    shutil.copytree(pipeline, tmp_path / "tree")
    label, empty = scans[0].label, scans[-1].images[0]
    assert label is not None
    assert empty is not None
    for path, length in ((label, 300), (empty, 0)):
        copy = tmp_path / "tree" / path.relative_to(pipeline)
        copy.write_bytes(copy.read_bytes()[:length])
    return tmp_path / "tree"


def compose_dhcp(make: Callable[..., DictConfig], tree: Path, *overrides: str) -> DictConfig:
    return make("cohort=dhcp", f"cohort.root={tree}", f"paths.data={tree.parent}", *overrides)


def test_a_run_goes_on_without_the_bad_scans(
    tree: Path, tmp_path: Path, compose_train: Callable[..., DictConfig]
) -> None:
    config = compose_dhcp(compose_train, tree, "on_error=skip")
    annotated = _planned(config, tmp_path / "run")
    skipped = {row["scan"]: row for row in describe(annotated)["skipped"]}
    assert {row["kind"] for row in skipped.values()} == {"truncated-file", "empty-file"}
    assert len(skipped) == 2
    assert all(row["cohort"] == "dhcp" and ".nii.gz" in row["why"] for row in skipped.values())
    planned = (tmp_path / "run" / "annotation.csv").read_text()
    present = {f"sub-{a.subject}_ses-{a.session}" for a in annotated.assignments}
    assert not present & set(skipped)
    assert len(planned.splitlines()) == len(annotated.assignments) + 1
    # Started again, the same scans are left out and the plan is the same.
    assert _planned(config, tmp_path / "run").assignments == annotated.assignments


def test_a_run_stops_unless_told_to_skip(
    tree: Path, compose_train: Callable[..., DictConfig]
) -> None:
    config = compose_dhcp(compose_train, tree)
    with pytest.raises(CohortError, match="is empty"):
        usable_cohort_of(config, space_of(config))
    with pytest.raises(ConfigError, match="on_error is 'ignore'"):
        usable_cohort_of(compose_dhcp(compose_train, tree, "on_error=ignore"), space_of(config))


def test_a_table_of_the_split_may_name_skipped_scans(
    tree: Path, tmp_path: Path, compose_train: Callable[..., DictConfig]
) -> None:
    subjects = [path.name for path in sorted(tree.glob("sub-*"))]
    parts = ["train"] * (len(subjects) - 2) + ["val", "test"]
    table = tmp_path / "split.csv"
    rows = [f"{name},{part}" for name, part in zip(subjects, parts, strict=True)]
    table.write_text("\n".join(["subject,split", *rows]) + "\n")
    config = compose_dhcp(compose_train, tree, "on_error=skip", "split=file", f"split.file={table}")
    cohort = usable_cohort_of(config, space_of(config))
    split = split_of(config, cohort)
    assert {*split.train, *split.val, *split.test} == set(cohort.subjects)
    if len(cohort.subjects) < len(subjects):
        with pytest.raises(CohortError, match="does not have"):
            read_split(table, cohort.scans)
    assert annotated_of(config, cohort, split).assignments
