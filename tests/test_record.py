"""`run.json` says that a run is finished, and only a whole one does."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "evaluation" / "report"))

from sweep import dice_of, write_run

from neoseg.findings.settings import ConfigError
from neoseg.runs.record import finished_dice


def test_a_folder_without_one_is_not_finished(tmp_path: Path) -> None:
    assert finished_dice(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"test_dice": "x"}', "\x00"])
def test_a_damaged_one_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"run\.json is not what a finished run writes"):
        finished_dice(tmp_path)


@pytest.mark.parametrize("dice", [0.5, None])
def test_a_run_that_was_killed_before_its_card_gets_it(tmp_path: Path, dice: float | None) -> None:
    run = write_run(tmp_path / "a", dice_of(0.6), views=False, record={"test_dice": dice})
    assert not (run / "card.md").exists()
    found = finished_dice(run)
    assert found == dice or (dice is None and found is not None and math.isnan(found))
    assert (run / "card.md").read_text().startswith("# Run ")
