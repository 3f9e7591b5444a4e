"""Commands on a run whose cohort lies elsewhere by now."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_config
from neoseg.runs.loading import data_of

Command = Callable[..., int]


@pytest.fixture
def moved(
    compose_train: Callable[..., DictConfig],
    untrained: Callable[..., Path],
    data_folder: Path,
    tmp_path: Path,
) -> tuple[Path, Path]:
    """A run on a dHCP tree with its tables inside, and the folder where the tree lies now."""
    RunConfig.parse(compose_train()).plan()  # generates the phantom
    tree = next(path for path in (data_folder / "phantom").rglob("derivatives")).parent
    old, new = tmp_path / "old place", tmp_path / "new place"
    old.symlink_to(tree)
    subjects = sorted({p.name[4:] for p in tree.rglob("sub-*") if p.is_dir()})
    parts = ["train", "train", *["test"] * (len(subjects) - 2)]
    table, who = tree / "split.csv", tree / "who.csv"
    rows = (f"{subject},{part}" for subject, part in zip(subjects, parts, strict=True))
    table.write_text("\n".join(["subject,split", *rows]) + "\n")
    who.write_text("\n".join(["subject,annotation", *(f"{s},full" for s in subjects)]) + "\n")
    run = untrained(
        *("cohort=dhcp", f"cohort.root='{old}'", "split=file", f"split.file='{old / table.name}'"),
        *("annotation=table", f"annotation.file='{old / who.name}'"),
    )
    old.rename(new)
    return run, new


def test_the_message_says_what_to_type(
    command: Command, moved: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, new = moved
    assert command("calibrate", f"run={run}", "part=test", "device=cpu") == 2
    told = " ".join("".join(capsys.readouterr()).split())
    assert "was trained on scans that lie elsewhere: " in told
    (line,) = re.findall(r"by (root=FOLDER)", told)
    assert (
        command(
            "calibrate", f"run={run}", "part=test", "device=cpu", line.replace("FOLDER", str(new))
        )
        == 0
    )
    assert command("evaluate", f"run={run}", f"root={new}", "device=cpu") == 0
    assert (run / "scores.csv").is_file() or list(run.glob("evaluation/*/scores.csv"))


def test_tables_move_along_and_a_split_that_is_gone_is_the_runs_own(
    moved: tuple[Path, Path],
) -> None:
    run, new = moved
    data = data_of(run, (), new)
    assert data.annotation is not None
    assert (data.split.file, data.annotation.file) == (new / "split.csv", new / "who.csv")
    (new / "split.csv").unlink()
    plan = data_of(run, (), new).plan()
    assert {item.split for item in plan.assignments} == {"train", "test"}
    with pytest.raises(ConfigError, match="root names other, and the run has dhcp"):
        data_of(run, (), {"other": new})
    with pytest.raises(ConfigError, match=r"set cohort\.root"):
        data_of(run, (), new, cohort=read_config(run / "config.yaml")["cohort"])


def test_each_of_several_cohorts_has_its_line(moved: tuple[Path, Path]) -> None:
    run, new = moved
    content = read_config(run / "config.yaml")
    extra = {key: deepcopy(content[key]) for key in ("cohort", "split", "annotation")}
    extra["annotation"] = {**extra["annotation"], "protocol": {"name": "full"}}
    content["extra_cohorts"] = {"more": extra}
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as caught:
        data_of(run)
    lines = re.findall(r"by ('root=.*?')", str(caught.value))
    assert [shlex.split(line)[0] for line in lines] == [
        "root={dhcp: FOLDER}",
        "root={more: FOLDER}",
    ]
    data = data_of(run, (), {"dhcp": new, "more": new})
    assert data.extra_cohorts["more"].split.file == new / "split.csv"
