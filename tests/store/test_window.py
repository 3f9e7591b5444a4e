"""One window of intensities for all scans of a CT: the same tissue has the same prepared values."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_ct import LIVER, SPLEEN, TABLE, abdomen, filled, save_ct, with_metal, write_abdomens

from neoseg.cohort import Cohort, read_nnunet
from neoseg.doctor.examination import diagnose
from neoseg.findings.settings import ConfigError
from neoseg.handover import segment
from neoseg.labels import LabelSpace, LabelTable
from neoseg.store import DataError, PrepareSettings, prepare_images
from neoseg.store.signature import copies, signature_of
from neoseg.store.store import Store
from neoseg.store.volume import read_volume

WINDOW = PrepareSettings(normalise="window", window=(-160.0, 240.0), processes=1)


def cohort_of(root: Path) -> Cohort:
    table = LabelTable.model_validate(yaml.safe_load(TABLE))
    return read_nnunet(root, LabelSpace.from_table(table))


@pytest.mark.parametrize("change", [filled, with_metal])
@pytest.mark.parametrize("how", ["window", "percentile"])
def test_tissue_keeps_its_value_whatever_else_a_scan_shows(
    tmp_path: Path, change: object, how: str
) -> None:
    image, labels = abdomen(0)
    settings = WINDOW if how == "window" else PrepareSettings(normalise="percentile")
    paths = [save_ct(tmp_path / "a.nii.gz", image), save_ct(tmp_path / "b.nii.gz", change(image))]
    (plain, grid), (other, other_grid) = (prepare_images([path], settings) for path in paths)
    organs = np.isin(labels, (LIVER, SPLEEN)) & (image == change(image))

    def values(prepared: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        whole = np.full(image.shape, np.nan, np.float32)
        whole[box] = prepared[0]
        return whole[organs]

    same = np.array_equal(values(plain, grid.box), values(other, other_grid.box))
    assert same is (how == "window")
    if same:
        np.testing.assert_allclose(values(plain, grid.box), (image[organs] + 160) / 400, atol=1e-6)
        assert grid.crop == other_grid.crop
        assert 0 <= other.min() < other.max() <= 1


def test_a_prediction_prepares_as_the_training_did_and_the_script_as_both(tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "inference"))
    from small_segmenter import segmenter

    cohort = cohort_of(write_abdomens(tmp_path / "abd", 1))
    path = cohort.scans[0].images[0]
    assert path is not None
    save_ct(path, filled(abdomen(0)[0]))
    settings = WINDOW.model_copy(update={"spacing": (15.0, 12.0, 12.0), "dtype": "float32"})
    (entry,) = Store(tmp_path / "store", settings).prepare(cohort, cohort.scans)
    chosen = settings.model_dump()
    use = segmenter(cohort.convention.space, **chosen)
    np.testing.assert_array_equal(use.volume([path])[0].numpy(), entry.read_image())
    result = use(path)
    assert result.prepare.shown == (0.0, 1.0)  # pictures show the window
    told = {**chosen, "modalities": ["0"], "flags": 0}
    np.testing.assert_allclose(
        segment.prepared(told, [str(path)])[0], entry.read_image(), atol=1e-6
    )


def test_a_window_that_is_not_set_changes_no_key() -> None:
    names = ["normalise", "spacing", "foreground", "crop_margin", "dtype", "locations"]
    assert [*PrepareSettings().model_dump()] == names
    stored = WINDOW.model_dump()
    assert stored["window"] == (-160.0, 240.0)
    assert PrepareSettings.model_validate(stored) == WINDOW.model_copy(update={"processes": None})


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"normalise": "window"}, "needs the window"),
        ({"window": [0, 1]}, "is for store.normalise=window, and store.normalise is zscore"),
        ({"normalise": "window", "window": [5, 5]}, "expected the lower value first"),
        ({"normalise": "window", "window": [0, float("nan")]}, "store.window.1 = nan"),
        ({"normalise": "window", "window": 3}, "expected 2 values"),
    ],
)
def test_what_is_no_window_is_told(raw: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PrepareSettings.read(raw, "store")


def test_a_scan_outside_of_the_window_is_named(tmp_path: Path) -> None:
    image = abdomen(0)[0]
    path = save_ct(tmp_path / "a.nii.gz", image + 5000)
    with pytest.raises(DataError, match=r"a\.nii\.gz lies from .* outside of store\.window"):
        prepare_images([path], WINDOW)


@pytest.mark.parametrize(
    ("offset", "modality", "settings", "told"),
    [
        (0.0, "CT", PrepareSettings(processes=1), "[-160,240]"),
        (0.0, "scan", PrepareSettings(processes=1), "[-160,240]"),  # by its air
        (1024.0, "CT", PrepareSettings(processes=1), "[LOW,HIGH]"),  # by its name
        (1024.0, "CT1", PrepareSettings(processes=1), ""),  # an MRI with contrast agent
        (0.0, "CT", WINDOW, ""),
    ],
)
def test_cts_that_are_scaled_one_by_one_are_told(
    tmp_path: Path, offset: float, modality: str, settings: PrepareSettings, told: str
) -> None:
    cohort = cohort_of(write_abdomens(tmp_path / "abd", 2, offset=offset, modality=modality))
    for _ in range(2):  # the second time from the store alone
        found = diagnose(cohort, Store(tmp_path / "store", settings)).problems
        texts = [str(problem) for problem in found if problem.kind == "ct-brightness"]
        assert len(texts) == bool(told)
        assert all("2 of 2 scans are CTs" in t and f"store.window={told}" in t for t in texts)


def test_two_abdomens_are_not_one(tmp_path: Path) -> None:
    paths = [save_ct(tmp_path / f"{n}.nii.gz", abdomen(n)[0]) for n in range(8)]
    volumes = [read_volume(path) for path in paths]
    assert copies([signature_of(volume) for volume in volumes]) == []
    again = read_volume(save_ct(tmp_path / "again.nii.gz", filled(abdomen(0)[0])))
    found = copies([*(signature_of(volume) for volume in volumes), signature_of(again)])
    assert found == [(0, 8)]
