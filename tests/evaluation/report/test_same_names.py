from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from neoseg.evaluation.report.run_files import FinishedRun
from neoseg.evaluation.report.same_names import tell_apart


def make_run(folder: Path, name: str, images: dict[str, str] | None) -> FinishedRun:
    path = folder / name
    path.mkdir()
    if images is not None:
        test = {scan: ["test", digest, ""] for scan, digest in images.items()}
        content = {"bids": {**test, "sub-9": ["train", f"trained in {name}", ""]}}
        (path / "images.json").write_text(json.dumps(content))
    return FinishedRun(path, name, {})


def test_other_images_under_the_same_names_are_another_cohort(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [
        make_run(tmp_path, "a", {"sub-1": "x", "sub-2": "y"}),
        make_run(tmp_path, "b", {"sub-1": "other"}),
        make_run(tmp_path, "c", {"sub-2": "y", "sub-3": "z"}),  # part of the first one's
        make_run(tmp_path, "d", {"sub-1": "other", "sub-3": "w"}),
        make_run(tmp_path, "old", None),
    ]
    frames = [pd.DataFrame({"cohort": ["bids", "phantom"]}) for _ in runs]
    with caplog.at_level(logging.WARNING):
        assert tell_apart(runs, [{}] * len(runs), frames) == [
            [],
            ["bids (2)"],
            [],
            ["bids (2)"],
            [],
        ]
    own, others = zip(*(frame["cohort"] for frame in frames), strict=True)
    assert own == ("bids", "bids (2)", "bids", "bids (2)", "bids")
    assert set(others) == {"phantom"}
    assert "show other images in b than scans of the same names in a" in caplog.text


@pytest.mark.parametrize("content", ["[]", '{"bids": 3}', '{"bids": {"sub-1": "x"}}', "{"])
def test_damaged_images_tell_nothing(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path, "a", None)
    (run.path / "images.json").write_text(content)
    assert tell_apart([run], [{}], [pd.DataFrame({"cohort": ["bids"]})]) == [[]]


def test_other_kinds_of_images_are_no_other_people(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name, {"sub-1": name}) for name in ("a", "b", "c")]
    frames = [pd.DataFrame({"cohort": ["bids"]}) for _ in runs]
    configs = [{"cohort": {"modalities": [name]}} for name in ("T1w", "T2w", "T2w")]
    assert tell_apart(runs, configs, frames) == [[], [], ["bids (2)"]]
