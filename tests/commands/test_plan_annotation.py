"""`neoseg.plan_annotation`: from a run to a table that the next training takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.runs.run import planned

SMALL = ("network.net.channels=[4,8]", "network.net.strides=[2]", "network.divisor=2")


@pytest.mark.parametrize("own", [True, False])
def test_a_plan_of_an_untrained_network(
    own: bool,
    command: Callable[..., int],
    compose_train: Callable[..., DictConfig],
    data_folder: Path,
    tmp_path: Path,
) -> None:
    some = (
        "annotation=superclass",
        "annotation.full_fraction=0.2",
        "split.fractions=[0.6,0.2,0.2]",
    )
    parsed = RunConfig.parse(compose_train(*SMALL, *some))
    run, output = tmp_path / "run", tmp_path / "plan"
    torch.manual_seed(0)
    module = parsed.module(planned(parsed, run))
    (run / "checkpoints").mkdir()
    content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    torch.save(content, run / "checkpoints" / "last.ckpt")
    image = next(data_folder.rglob("*_desc-restore_T2w.nii.gz"))
    asked = (f"run={run}", "device=cpu", f"output={output}", *([] if own else [f"pool={image}"]))
    assert command("plan_annotation", *asked, "budget=0.1") == 2  # too little for anything
    assert command("plan_annotation", *asked, "budget=65") == 0
    rows = pd.read_csv(output / "plan.tsv", sep="\t")
    assert 0 < rows["minutes"].sum() <= 65
    assert rows["reason"].str.contains("settles").all()
    assert rows["scan"][0] in (output / "plan.html").read_text()
    if not own:
        return
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        path = f"hydra.searchpath=[file://{output}]"
        base = ["cohort.phantom.subjects=6", "cohort.phantom.spacing=4.0", "cohort.workers=1"]
        data = f"paths.data={data_folder}"
        after = compose("train", [path, *base, data, some[2], "annotation=planned"])
    source = RunConfig.parse(after).plan().sources[0]
    ids = {scan.id: item.protocol for scan, item in source.of_split("train")}
    assert all(ids[row.scan] == row.annotation for row in rows.itertuples())
    assert "superclass" in ids.values() or len(rows) == len(ids) - 1
