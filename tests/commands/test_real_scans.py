"""Real fetal scans (CC0): train on partial labels, segment one, get exactly its own grid back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from forked import run_command
from omegaconf import DictConfig
from tiny_run import train

from neoseg.cohort.annotation import read_plan


@pytest.mark.slow
def test_train_on_partial_labels_and_predict(
    compose_train: Callable[..., DictConfig], real_scans: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = compose_train(
        "+experiment=partial_superclass",
        "labels=fidon8",
        "annotation.protocol.merge=[GM_BS]",
        "score=false",
        "store.spacing=3.0",
        "cohort=bids",
        f"cohort.root={real_scans}",
    )
    train(config, run)
    plan = read_plan(run / "annotation.csv")
    assert {"superclass", "full"} == {item.protocol for item in plan}
    assert len(plan) == 15

    source = sorted(real_scans.glob("sub-GA34op/anat/*_T2w.nii.gz"))[0]
    output = tmp_path / "out"
    words = [f"run={run}", f"input={source}", f"output={output}", "device=cpu"]
    status, said = run_command("predict", *words, cwd=tmp_path)
    assert status == 0, said
    (target,) = output.rglob("*_dseg.nii.gz")
    image, labels = nib.load(source), nib.load(target)
    assert labels.shape == image.shape
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert labels.get_data_dtype() == np.uint8
    table = pd.read_csv(output / "desc-neoseg_dseg.tsv", sep="\t")
    assert table["index"].tolist() == list(range(9))
    assert set(np.unique(np.asarray(labels.dataobj))) <= set(range(9))
