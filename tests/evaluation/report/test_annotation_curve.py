"""The learning curve of `neoseg.plan_annotation`, from runs on disk to its table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sweep import write_run

from neoseg.commands.annotation_curve import case_after, counts_of, learn, worth_of, write_curve
from neoseg.evaluation.report.run_files import ReportError
from neoseg.findings.settings import ConfigError


def run_of(folder: Path, draw: int, full: int, coarse: int, dice: float) -> None:
    scans = {("p1", "1"): {"GM": dice, "WM": dice}, ("t1", "1"): {"GM": dice, "WM": dice}}
    write_run(folder, scans, draw=draw, views=False)
    rows = [("train", "full", "full")] * full + [("train", "partial", "TCV")] * coarse
    rows += [("train", "unlabelled", "unlabelled"), ("test", "full", "full")]
    table = pd.DataFrame(rows, columns=["split", "stream", "protocol"])
    table.insert(0, "subject", [f"s{n}" for n in range(len(table))])
    table.insert(0, "cohort", "phantom")
    table.to_csv(folder / "annotation.csv", index=False)


def test_from_runs_to_what_a_plan_brings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for draw, (full, coarse) in enumerate([(1, 0), (2, 0), (2, 8), (4, 0), (4, 8), (8, 0)]):
        dice = 0.9 - 0.2 * (full + 0.5 * coarse) ** -0.5
        run_of(tmp_path / "runs" / str(draw), draw, full, coarse, dice)
    run_of(tmp_path / "runs" / "again", 9, 1, 0, 0.7)
    trained, curve = learn(tmp_path / "runs")
    assert len(trained.dice) == 6
    assert "0, again are one training, and count once" in caplog.text
    assert trained.depths == ("full", "TCV")
    assert trained.scans == 2
    assert worth_of(trained, curve) == {"TCV": pytest.approx(0.5, abs=0.1)}
    now = counts_of(tmp_path / "runs" / "2")
    assert now == {"full": 2, "TCV": 8}
    after = case_after(now, [("TCV", "full"), ("unlabelled", "TCV"), ("unlabelled", "TCV")])
    assert after == {"full": 3, "TCV": 9}
    lines = write_curve(trained, curve, tmp_path, now, after, 10)
    assert any(line.startswith("TCV is worth 0.") for line in lines)
    table = pd.read_csv(tmp_path / "curve.tsv", sep="\t").set_index("labels")
    assert {"now", "plan", "10 more full", "10 more TCV"} <= {*table.index}
    assert "20 more full" not in table.index
    assert table.loc["now", "dice"] == pytest.approx(0.9 - 0.2 * 6**-0.5, abs=0.01)
    assert 0 < table.loc["plan", "gain"] < table.loc["10 more full", "gain"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_runs_that_tell_too_little(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="is not a folder"):
        learn(tmp_path / "none")
    run_of(tmp_path / "runs" / "0", 0, 2, 0, 0.8)
    with pytest.raises(ConfigError, match=r"no curve through the runs below .*: 1 trainings"):
        learn(tmp_path / "runs")
    (tmp_path / "runs" / "0" / "annotation.csv").unlink()
    with pytest.raises(ConfigError, match=r"annotation\.csv"):
        learn(tmp_path / "runs")
