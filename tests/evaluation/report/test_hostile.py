"""Runs of strangers: whatever their files say, the report shows it as text and stays in place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from sweep import dice_of, write_run

from neoseg.evaluation.report import write
from neoseg.evaluation.report.collect import collect
from neoseg.evaluation.report.run_files import ReportError
from neoseg.evaluation.report.write import write_report
from neoseg.evaluation.table import read_scores, write_scores

TAG = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'


def spoil(run: Path, **columns: str) -> None:
    """Put a text into columns of the scores."""
    frame = read_scores(run / "scores.csv")
    for name, text in columns.items():
        frame[name.rstrip("_")] = text
    write_scores(run / "scores.csv", frame)


def test_everything_that_a_run_says_is_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "a", dice_of(0.6), name=f"{TAG.replace('/', '')}{IMAGE}")
    frame = read_scores(run / "scores.csv")
    frame["class"] = [f"{IMAGE}{text}" for text in frame["class"]]
    frame["abbreviation"] = [f"{text}<b>" for text in frame["abbreviation"]]
    frame["subject"] = [f"{text}<svg onload=alert(1)>" for text in frame["subject"]]
    write_scores(run / "scores.csv", frame)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"note": TAG, f"key{TAG}": "x", "cohort": {"name": TAG}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    record = {"name": TAG, "device": IMAGE, "command": f"`x` {TAG}", "versions": {TAG: IMAGE}}
    (run / "run.json").write_text(json.dumps(record))

    page = write_report(tmp_path / "runs", tmp_path / "out").read_text(encoding="utf-8")
    body = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.S)
    assert body.count("<script") == 1  # the data
    for mark in ("<img", "<svg", "<b>", "onload=alert(1)>", "alert(1)</script"):
        assert mark not in page.replace("\\u003c", ""), mark
    for path in (tmp_path / "out").rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        # The configuration of a card is a code block, in which nothing is markup.
        shown = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
        assert not re.search(r"(?<!\\)<(script|img|svg|b)\b", shown), path
    files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert files == {"runs", "out"}


@pytest.mark.parametrize("column", ["subject", "session"])
@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "a\\b", "a\0b"])
def test_ids_are_no_paths(tmp_path: Path, column: str, text: str) -> None:
    run = write_run(tmp_path / "runs" / "a", dice_of(0.6))
    spoil(run, **{column: text})
    with pytest.raises(ReportError, match="is no id, it has a slash"):
        collect(tmp_path / "runs")


def test_a_picture_outside_of_the_run_is_not_copied(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "a", dice_of(0.6, ("p1-1",)), views=False)
    (tmp_path / "secret.png").write_bytes(b"\x89PNG secret")
    (run / "pictures" / "sub-..").mkdir(parents=True)
    spoil(run, subject="../../../../secret", session="")
    with pytest.raises(ReportError, match="no finished run"):
        write_report(tmp_path / "runs", tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.png"))


def test_a_configuration_that_asks_for_secrets_counts_as_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_write_figures", lambda *_: {})  # seconds, and not meant here
    monkeypatch.setenv("TOKEN_OF_TEST", "s3cr3t")
    write_run(tmp_path / "runs" / "a", dice_of(0.6))
    run = write_run(tmp_path / "runs" / "b", dice_of(0.6))
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"x": "${oc.env:TOKEN_OF_TEST}"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    write_report(tmp_path / "runs", tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"s3cr3t" not in path.read_bytes()
    assert "would call a resolver" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_an_old_page_does_not_stand_beside_new_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_write_figures", lambda *_: {})
    write_run(tmp_path / "runs" / "a", dice_of(0.6), views=False)
    page = write_report(tmp_path / "runs", tmp_path / "out")
    whole = page.read_text()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(write, "write_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            write_report(tmp_path / "runs", tmp_path / "out")
    assert page.read_text().endswith("was interrupted: run neoseg report again.")
    write_report(tmp_path / "runs", tmp_path / "out")
    assert page.read_text() == whole
