"""The dashboard of a sweep: its panels show what runs log, of the runs of the sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import run_command
from hydra import compose, initialize_config_dir
from recording_server import RecordingServer
from small_wandb_run import Recorded

from neoseg.commands import dashboard, panels
from neoseg.commands.panels import PanelSettings, make_workspace
from neoseg.configuration.config import CONFIG_DIR
from neoseg.findings.settings import ConfigError
from neoseg.labels import LabelSpace

pytest.importorskip("wandb_workspaces", reason="the extra 'dashboard' is not installed")

ONE = PanelSettings(overlays=1, classes=99)


@pytest.fixture
def content(drawem9: LabelSpace) -> dict[str, Any]:
    return dashboard.content_of(make_workspace("ablation", drawem9, ONE, "neoseg", "team"))


def panels_of(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the panels by the names of their sections."""
    sections = content["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections if section["panels"]}


def kinds(panels: list[dict[str, Any]]) -> set[str]:
    return {panel["viewType"] for panel in panels}


def metrics(content: dict[str, Any]) -> Iterator[str]:
    for panel in [p for group in panels_of(content).values() for p in group]:
        yield from panel["config"].get("metrics", [])
        if "xAxis" in panel["config"]:
            yield panel["config"]["xAxis"]


def test_sections_and_kinds_of_panels(content: dict[str, Any]) -> None:
    assert {name: kinds(found) for name, found in panels_of(content).items()} == {
        "Test Dice by arm": {"Bar Chart"},
        "Label share": {"Run History Line Plot"},
        "Structures": {"Bar Chart"},
        "Training": {"Run History Line Plot"},
        "Machine": {"Run History Line Plot"},
        "Overlays": {"Media Browser"},
        "Scores and run cards": {"Weave", "Media Browser"},
    }


@pytest.mark.slow
def test_every_metric_is_one_that_a_run_logs(content: dict[str, Any], recorded: Recorded) -> None:
    logged = set().union(*recorded.run.history)
    wanted = set(metrics(content))
    assert {"test/dice", "test/dice_hidden", "val/dice/CSF", "lr", "time/data_wait_share"} <= wanted
    # What the tiny test scan does not have is n/a, and a run leaves it out.
    assert {name for name in wanted - logged if not name.startswith("test/dice/")} == set()
    assert len([name for name in wanted & logged if name.startswith("test/dice/")]) > 4
    media = {
        key
        for panel in [p for group in panels_of(content).values() for p in group]
        for key in panel["config"].get("mediaKeys", [])
    }
    assert media == {"overlays/1", "run_card"}
    kept = {key for row in recorded.run.history for key, v in row.items() if isinstance(v, dict)}
    assert media | {"scores"} == kept


def test_panels_are_means_with_intervals_by_arm(content: dict[str, Any]) -> None:
    found = panels_of(content)
    for panel in [*found["Test Dice by arm"], *found["Label share"], *found["Training"]]:
        config = panel["config"]
        assert (config["groupBy"], config["groupAgg"]) == ("jobType", "mean")
        assert config["groupArea"] == "stderr"
    assert {panel["config"]["xAxis"] for panel in found["Label share"]} == {"test/full_fraction"}


def test_runs_are_those_of_the_sweep_by_arm(content: dict[str, Any]) -> None:
    (runs,) = content["spec"]["section"]["runSets"]
    wanted = {
        (f["key"]["section"], f["key"]["name"], f["op"], f["value"]): f.get("connector")
        for f in runs["filters"]["filters"]
    }
    assert wanted == {
        ("run", "group", "=", "ablation"): None,
        ("config", "stage", "=", "last"): "AND",
    }
    assert runs["grouping"] == [{"section": "run", "name": "jobType"}]


def test_no_more_panels_of_classes_than_asked_for(drawem87: LabelSpace) -> None:
    few = PanelSettings(classes=3, overlays=0)
    found = panels_of(dashboard.content_of(make_workspace("a", drawem87, few, "p", "")))
    assert len(found["Structures"]) == 3
    assert "Overlays" not in found
    assert drawem87.leaves[drawem87.background].abbreviation not in str(found["Structures"])


@pytest.mark.parametrize("name", ["o'brien", 'a"b', "a\\b"])
def test_a_name_that_filters_cannot_hold_is_one_message(name: str, drawem9: LabelSpace) -> None:
    with pytest.raises(ConfigError, match="another name"):
        make_workspace(name, drawem9, ONE, "p", "")


def configured(*overrides: str) -> Any:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("dashboard", [*overrides])


def test_a_file_takes_the_place_of_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawem9: LabelSpace
) -> None:
    monkeypatch.setattr(dashboard, "default_entity", lambda: pytest.fail("asked W&B"))
    path = tmp_path / "board.json"
    dashboard.main(configured("sweep=ablation", f"output={path}"))
    written = json.loads(path.read_text())
    assert (written["project"], written["displayName"]) == ("neoseg", "Sweep ablation")
    assert set(metrics(written)) <= set(metrics_of_all(drawem9))


def metrics_of_all(space: LabelSpace) -> Iterator[str]:
    return metrics(dashboard.content_of(make_workspace("a", space, ONE, "p", "")))


def test_a_library_that_is_missing_is_one_message(
    drawem9: LabelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'neoseg\[dashboard\]'"):
        make_workspace("a", drawem9, ONE, "p", "")


@pytest.mark.slow
def test_the_command_saves_a_view(
    server: RecordingServer, tmp_path: Path, drawem9: LabelSpace
) -> None:
    status, said = run_command(
        *("dashboard", "sweep=ablation", "entity=team"),
        cwd=tmp_path,
        environment=server.environment(tmp_path),
    )
    assert status == 0, said
    (view,) = server.views
    assert (view["entityName"], view["projectName"]) == ("team", "neoseg")
    assert (view["type"], view["displayName"]) == ("project-view", "Sweep ablation")
    sections = json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]
    assert {"Label share", "Overlays"} <= {section["name"] for section in sections}
    assert f"{server.address}/team/neoseg?nw=" in said


def test_a_file_of_something_else_is_not_written_over(
    content: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="holds something else than a dashboard"):
        dashboard.DashboardConfig._require_free(tmp_path / "mine.json")
    (tmp_path / "own.json").write_text(json.dumps(content))
    dashboard.DashboardConfig._require_free(tmp_path / "own.json")
