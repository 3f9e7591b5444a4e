"""Plans for CT: a window by what is labelled, and sizes by the scans of all cohorts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small_ct import TABLE, save_ct, write_abdomens

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.planned import Given, with_plan
from neoseg.configuration.run import RunConfig
from neoseg.planning.ct import Computed
from neoseg.planning.make import Made, make
from neoseg.store.ct import RANGE

SPLIT = "split.fractions=[0.8,0.2,0]"


def planned(folder: Path, *overrides: str) -> Made[RunConfig]:
    table = folder / "conf" / "labels" / "abdomen.yaml"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(TABLE)
    keys = ("labels=abdomen", "cohort=nnunet", f"cohort.root={folder / 'abd'}", SPLIT)
    places = (f"paths.data={folder / 'data'}", "store.processes=1", "trainer=cpu")
    search = f"hydra.searchpath=[file://{folder / 'conf'}]"
    lines = [search, *keys, *places, "annotation=full", *overrides]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        found = compose("train", lines, return_hydra_config=True)
    config = OmegaConf.masked_copy(found, [str(k) for k in found if k != "hydra"])
    given = Given.of_hydra(config, found.hydra)
    config, is_open = with_plan(config, given, None)
    assert is_open
    return make(RunConfig, config, given)


def values(made: Made[RunConfig]) -> dict[str, Any]:
    return {decision.key: decision.value for decision in made.decisions}


def reason(made: Made[RunConfig], key: str) -> str:
    return next(decision.reason for decision in made.decisions if decision.key == key)


def labelled(folder: Path, drawn: dict[str, tuple[int, ...]]) -> list[float]:
    """Return 0.5 and 99.5 % of the intensities of the structures drawn of each case."""
    parts = []
    for case, structures in drawn.items():
        image = np.asarray(nib.load(folder / "imagesTr" / f"{case}_0000.nii.gz").dataobj)
        codes = np.asarray(nib.load(folder / "labelsTr" / f"{case}.nii.gz").dataobj)
        parts.append(np.quantile(image[np.isin(codes, structures)], (np.arange(1000) + 0.5) / 1000))
    return np.percentile(parts, (0.5, 99.5)).round().tolist()


@pytest.mark.parametrize(
    ("offset", "modality"), [(0.0, "scan"), (0.0, "CT"), (1024.0, "CT")], ids=str
)
def test_a_window_is_planned_by_the_labels_of_the_training(
    tmp_path: Path, offset: float, modality: str
) -> None:
    root = write_abdomens(tmp_path / "abd", 5, offset=offset, modality=modality)
    made = planned(tmp_path)
    found = values(made)
    assert found["store.normalise"] == "window"
    cases = [scan.subject for scan, _ in made.plan.of_split("train")]
    assert len(cases) == 4
    assert found["store.window"] == labelled(root, dict.fromkeys(cases, (1, 2)))
    assert made.run.store.window == tuple(found["store.window"])
    assert "labelled in 4 training scans" in reason(made, "store.window")
    assert found["store.spacing"] == [12.0, 12.0, 15.0]
    assert "of the training scans, which" in reason(made, "store.spacing")


def test_labels_that_are_hidden_do_not_count(tmp_path: Path) -> None:
    root = write_abdomens(tmp_path / "abd", 5)
    for path in (root / "labelsTr").iterdir():  # what is not drawn is far from what is
        image = root / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz")
        array = np.asarray(nib.load(image).dataobj)
        codes = np.asarray(nib.load(path).dataobj)
        save_ct(image, np.where(codes == 2, np.float32(400), array))
    part = ("annotation.protocol={name: part, missing: [Spleen]}", "annotation.full_fraction=0.3")
    made = planned(tmp_path, *part)
    pairs = made.plan.of_split("train")
    drawn = {scan.subject: (1, 2) if item.stream == "full" else (1,) for scan, item in pairs}
    assert sorted(drawn.values()) == [(1,), (1,), (1,), (1, 2)]
    assert values(made)["store.window"] == labelled(root, drawn)


def test_without_labels_the_window_is_that_of_all_that_a_ct_shows(tmp_path: Path) -> None:
    write_abdomens(tmp_path / "abd", 3)
    plan = planned(tmp_path).plan
    source = plan.sources[0]
    pairs = source.of_split("train")
    bare = [(source, replace(scan, label=None), item) for scan, item in pairs]
    told = list[tuple[int, int]]()
    assert Computed.of(bare, plan, lambda *pair: told.append(pair)) == Computed(RANGE, 0)
    assert told[-1] == (len(told), len(told))


def test_the_few_labelled_scans_of_many_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_abdomens(tmp_path / "abd", 6)
    for number in (0, 2, 3, 4, 5):
        (root / "labelsTr" / f"abd{number:03d}.nii.gz").unlink()
    monkeypatch.setattr("neoseg.planning.ct.MAX_SCANS", 2)
    made = planned(tmp_path, "split.fractions=[1,0,0]")
    assert values(made)["store.window"] == labelled(root, {"abd001": (1, 2)})


def test_one_scan_that_is_no_ct_forbids_a_window(tmp_path: Path) -> None:
    root = write_abdomens(tmp_path / "abd", 5, modality="scan")
    for path in (root / "imagesTr").iterdir():
        array = np.asarray(nib.load(path).dataobj)
        if "002" in path.name:
            save_ct(path, array + 1024)
    made = planned(tmp_path, "split.fractions=[1,0,0]")
    assert values(made)["store.normalise"] == "zscore"
    assert "store.window" not in values(made)


def test_what_is_given_stays(tmp_path: Path) -> None:
    write_abdomens(tmp_path / "abd", 3)
    window = ("store.normalise=window", "store.window=[-100,200]")
    for keys, chosen in ((window, (-100.0, 200.0)), (("store.normalise=minmax",), None)):
        made = planned(tmp_path, *keys)
        assert not {"store.normalise", "store.window"} & set(values(made))
        assert made.run.store.window == chosen


def test_the_scans_of_all_cohorts_count(tmp_path: Path) -> None:
    write_abdomens(tmp_path / "abd", 3)
    write_abdomens(tmp_path / "more", 6, (6.0, 6.0, 7.5), start=50)
    reader = "+extra_cohorts.more.cohort"
    extra = (f"{reader}._target_=neoseg.cohort.read_nnunet", f"{reader}.root={tmp_path / 'more'}")
    made = planned(tmp_path, *extra)
    assert values(made)["store.spacing"] == [6.0, 6.0, 7.5]
    assert "of all 2 cohorts" in reason(made, "store.spacing")
    assert made.plan.sources[0].cohort.voxel_size == (6.0, 6.0, 7.5)
    own = planned(tmp_path)
    assert values(own)["store.spacing"] == [12.0, 12.0, 15.0]
