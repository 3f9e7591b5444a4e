"""A training can go on without scans that have errors, and records which and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from neoseg.cohort import CohortError
from neoseg.cohort.split import read_split, split_of
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.runs.description import describe
from neoseg.runs.run import planned


@pytest.fixture
def tree(tmp_path: Path, compose_train: Callable[..., DictConfig]) -> Path:
    """The phantom in a folder of its own, with one label file cut off and one image empty."""
    config = compose_train()
    scans = RunConfig.parse(config).read_cohort().scans
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
    annotated = planned(RunConfig.parse(config), tmp_path / "run")
    skipped = {row["scan"]: row for row in describe(annotated)["skipped"]}
    assert {row["kind"] for row in skipped.values()} == {"truncated-file", "empty-file"}
    assert len(skipped) == 2
    assert all(row["cohort"] == "dhcp" and ".nii.gz" in row["why"] for row in skipped.values())
    table = (tmp_path / "run" / "annotation.csv").read_text()
    present = {f"sub-{a.subject}_ses-{a.session}" for a in annotated.assignments}
    assert not present & set(skipped)
    assert len(table.splitlines()) == len(annotated.assignments) + 1
    # Started again, the same scans are left out and the plan is the same.
    assert planned(RunConfig.parse(config), tmp_path / "run").assignments == annotated.assignments


def test_a_run_stops_unless_told_to_skip(
    tree: Path, compose_train: Callable[..., DictConfig]
) -> None:
    config = compose_dhcp(compose_train, tree)
    with pytest.raises(CohortError, match="is empty"):
        RunConfig.parse(config).plan()
    with pytest.raises(ConfigError, match=r"on_error = 'ignore'.*skip"):
        RunConfig.parse(compose_dhcp(compose_train, tree, "on_error=ignore"))


def test_a_table_of_the_split_may_name_skipped_scans(
    tree: Path, tmp_path: Path, compose_train: Callable[..., DictConfig]
) -> None:
    subjects = [path.name for path in sorted(tree.glob("sub-*"))]
    parts = ["train"] * (len(subjects) - 2) + ["val", "test"]
    table = tmp_path / "split.csv"
    rows = [f"{name},{part}" for name, part in zip(subjects, parts, strict=True)]
    table.write_text("\n".join(["subject,split", *rows]) + "\n")
    config = compose_dhcp(compose_train, tree, "on_error=skip", "split=file", f"split.file={table}")
    run = RunConfig.parse(config)
    cohort = run.usable_cohort()
    split = split_of(cohort, run.split)
    assert {*split.train, *split.val, *split.test} == set(cohort.subjects)
    if len(cohort.subjects) < len(subjects):
        with pytest.raises(CohortError, match="does not have"):
            read_split(table, cohort.scans)
    assert run.plan(cohort).assignments
