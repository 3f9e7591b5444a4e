"""What is left out of what others see."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from neoseg.findings.privacy import PATH, WITHHELD, numbered, shared

sys.path.append(str(Path(__file__).parents[1] / "evaluation" / "report"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/alice/data", PATH),
        ("/data/My Lab/x.nii.gz", PATH),
        ("~/data", PATH),
        ("~alice", PATH),
        ("C:\\Users\\alice", PATH),
        ("\\\\server\\share", PATH),
        ("file:///home/alice", PATH),
        ("cohort.root=/home/alice/data", f"cohort.root={PATH}"),
        ("'/home/alice/x' cannot be read", f"'{PATH}' cannot be read"),
        ("/My Lab/runs/a has no run.json", f"{PATH}/a has no run.json"),
        (f"seen on {socket.gethostname()}", f"seen on {WITHHELD}"),
        ("train/loss of n/a, https://example.org/x", "train/loss of n/a, https://example.org/x"),
        ("sub-01_ses-2", "sub-01_ses-2"),
        ("0.5 mm", "0.5 mm"),
    ],
)
def test_absolute_paths_go_and_other_texts_stay(text: str, told: str) -> None:
    assert shared({"a": [text]}, "paths", ["/My Lab/runs"]) == {"a": [told]}
    assert shared(text, "none") == text


def test_ids_and_commands_go() -> None:
    raw = {"command": "python x", "subjects": ["CC01"], "phantom": {"subjects": 6}}
    raw |= {"why": "sub-CC01_ses-7: lacks an age"}
    assert shared(raw, "subjects") == {
        "command": WITHHELD,
        "subjects": f"1 {WITHHELD}",
        "phantom": {"subjects": 6},
        "why": "sub-*_ses-*: lacks an age",
    }
    assert numbered(["b", "a", "", "b"]) == {"a": "1", "b": "2", "": ""}


def test_nothing_private_is_in_a_report_or_card(tmp_path: Path) -> None:
    from sweep import dice_of, write_run

    from neoseg.evaluation.report.compare import ReportSettings
    from neoseg.evaluation.report.write import write_report
    from neoseg.evaluation.table import read_scores, write_scores

    folder = tmp_path / "of alice" / "runs"
    record = {
        "command": "python -m neoseg.train cohort.root=/home/alice/data",
        "annotation": {"skipped": [{"cohort": "c", "scan": "sub-secret7", "kind": "x"}]},
    }
    run = write_run(folder / "a", dice_of(0.6), record=record)
    table = read_scores(run / "scores.csv")
    table["subject"] = "secret" + table["subject"]
    table["session"] = "visit" + table["session"]
    write_scores(run / "scores.csv", table)
    for path in [*(run / "views").iterdir()]:
        name = path.name.replace("sub-", "sub-secret").replace("ses-", "ses-visit")
        path.rename(path.with_name(name))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["cohort"] |= {"root": "/home/alice/my data", "subjects": ["secret7"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "waiting").mkdir()
    (folder / "waiting" / "config.yaml").write_text("name: ${x}\n")

    output = tmp_path / "out"
    write_report(folder, output, ReportSettings(), "subjects")
    files = [path for path in output.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes().lower()
        for word in (b"alice", b"secret", b"visit", str(tmp_path).encode().lower()):
            assert word not in content, (path, word)
            assert word.decode() not in str(path.relative_to(output)).lower()
    scores = pd.read_csv(output / "scores.csv", dtype=str)
    assert set(scores["subject"]) == {"1", "2", "3"}
    card = json.loads(next(output.glob("cards/*/card.json")).read_text())
    assert card["software"]["command"] == WITHHELD
    assert len([path for path in files if path.parent.name == "cases"]) == 2  # from the views
