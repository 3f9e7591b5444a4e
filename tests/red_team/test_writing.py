"""A stranger's run into which a command writes, and what it would send elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from honest import checkpoint, config, save, write_config

from neoseg.configuration.planned import read_plan_file
from neoseg.configuration.resume import resumed
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError, require_no_link_out
from neoseg.labels import LabelError, LabelTable


@pytest.mark.parametrize(
    "name", ["train.log", "pictures", "evaluation/phantom/views", "checkpoints/last.ckpt"]
)
def test_no_link_leads_out_of_a_run(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    inside = run / "inside"
    inside.mkdir()
    (run / "latest").symlink_to("inside")
    logs = run / "wandb" / "offline-run-20261130_051143-d7634a7c" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to(tmp_path / "home" / "core-debug.log")  # as W&B does
    require_no_link_out(run)
    (run / name).symlink_to(tmp_path / "home")  # whether it is there or not
    with pytest.raises(ForeignError, match="is a link that leads out of the run"):
        require_no_link_out(run)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ForeignError, match="leads out of the run"):
        require_no_link_out(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "resume=run"),
        ("train", "hydra.run.dir=run"),
        ("evaluate", "run=run"),
        ("audit", "run=[run]"),
        ("report", "runs=.", "output=run/report"),
    ],
)
def test_commands_write_through_no_link(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run = save(tmp_path / "run", checkpoint())
    write_config(run, config())
    name, *rest = arguments
    if rest[0].startswith(("hydra", "runs")):  # of others it shows that they are runs
        (run / "split.csv").write_text("subject,split\n")
    home = tmp_path / "bashrc"
    home.write_text("mine")
    (run / "train.log").symlink_to(home)
    ended = subprocess.run(
        [sys.executable, "-m", f"neoseg.{name}", *rest],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "is a link that leads out of the run" in ended.stderr
    assert home.read_text() == "mine"


def test_the_folder_of_w_and_b_leads_nowhere(tmp_path: Path) -> None:
    run = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True))
    run.finish()
    assert any(path.is_symlink() for path in tmp_path.rglob("*"))  # also into the home folder
    require_no_link_out(tmp_path)


def test_a_key_has_no_line_break(canary: Any) -> None:
    run = write_config(canary.folder, {**config(), "x\ntouch mark #": 1})
    assert "expected printable keys" in canary.refused(lambda: resumed(run, []))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("network: {name: '${oc.env:CANARY}'}", "would call a resolver"),
        ("logger: {wandb: {mode: online, entity: theirs}}", "sets 'logger'"),
        ("allow: [theirs]", "sets 'allow'"),
        ("paths: {data: /tmp}", "sets 'paths'"),
        ("augment: {torchio: [{_target_: theirs.Transform}]}", "sets 'augment'"),
    ],
)
def test_a_plan_sets_sizes_alone(canary: Any, content: str, message: str) -> None:
    path = canary.folder / "plan.yaml"
    path.write_text(content)
    assert message in canary.refused(lambda: read_plan_file(path))


def test_a_run_does_not_say_who_gets_its_curves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = config()
    content["logger"]["wandb"] |= {"mode": "online", "entity": "theirs"}
    content["logger"]["mlflow"]["uri"] = "http://theirs.example"
    run = write_config(tmp_path, content)
    logger = resumed(run, []).logger
    assert (logger.wandb.mode, logger.mlflow.uri) == ("offline", None)
    assert "logger.wandb.mode=online" in caplog.text
    again = resumed(run, ["logger.wandb.mode=online", "logger.mlflow.uri=http://mine.example"])
    assert (again.logger.wandb.mode, again.logger.mlflow.uri) == ("online", "http://mine.example")


@pytest.mark.parametrize("text", ["a\nb", "\x1b]0;title\x07", "\u202eright to left", "a\rb"])
@pytest.mark.parametrize("key", ["name", "abbreviation"])
def test_names_stay_on_their_line(key: str, text: str) -> None:
    leaves = [
        {"index": 0, "name": "Clear", "abbreviation": "BG"},
        {"index": 1, "name": "Grey", "abbreviation": "GM", key: text},
    ]
    with pytest.raises((LabelError, ConfigError), match="cannot be printed"):
        LabelTable.parse({"name": "t", "background": 0, "leaves": leaves})
