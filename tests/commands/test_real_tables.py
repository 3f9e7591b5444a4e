"""Hippocampi as the Decathlon gives them, with a table of who is annotated how: three readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.data import DataConfig
from neoseg.configuration.nodes import register_nodes

HIPPOCAMPI = Path(__file__).resolve().parents[3] / "shared" / "data" / "hippocampus"
SUBJECTS = ("001", "004", "008", "011", "014")
TOLD = ("full", "HIP", "HIP", "unlabelled", "full")
PARTS = ("train", "train", "train", "train", "test")


@pytest.fixture
def root() -> Path:
    if not HIPPOCAMPI.is_dir():
        pytest.skip(f"the hippocampi are not at {HIPPOCAMPI}")
    return HIPPOCAMPI


def data_of(folder: Path, root: Path, reader: str) -> DataConfig:
    before = "hippocampus_" if reader == "folder" else "hippocampus"  # a file name is the id
    names = [before + number for number in SUBJECTS]
    rows = "\n".join(f"{n},{t}" for n, t in zip(names, TOLD, strict=True))
    (folder / "who.csv").write_text(f"subject,annotation\n{rows}\n")
    rows = "\n".join(f"{n},{p}" for n, p in zip(names, PARTS, strict=True))
    (folder / "split.csv").write_text(f"subject,split\n{rows}\n")
    rows = "\n".join(
        f"{n},{root}/imagesTr/hippocampus_{number}.nii.gz,{root}/labelsTr/hippocampus_{number}.nii.gz"
        for n, number in zip(names, SUBJECTS, strict=True)
    )
    (folder / "scans.csv").write_text(f"subject,MRI,label\n{rows}\n")
    where = {
        "nnunet": [f"cohort.root={root}"],
        "table": [f"cohort.root={folder}/scans.csv", "cohort.modalities=[MRI]"],
        "folder": [
            f"cohort.root={root}",
            "cohort.modalities=[MRI]",
            'cohort.images="imagesTr/{subject}"',
            'cohort.labels="labelsTr/{subject}"',
        ],
    }[reader]
    usual = ["labels=hippocampus", f"cohort={reader}", *where]
    usual += [f"cohort.subjects=[{','.join(names)}]", "split=file"]
    usual += [f"split.file={folder}/split.csv", "annotation=table"]
    usual += [f"annotation.file={folder}/who.csv", f"paths.data={folder}/{reader}"]
    register_nodes()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", usual), resolve=False)
    assert isinstance(config, dict)
    return DataConfig.parse({k: config[k] for k in DataConfig.model_fields if k in config})


@pytest.mark.parametrize("reader", ["nnunet", "table", "folder"])
def test_a_table_tells_who_is_annotated_how(reader: str, root: Path, tmp_path: Path) -> None:
    data = data_of(tmp_path, root, reader)
    plan = data.plan()
    told = [f"{a.split} {a.stream} {a.protocol}" for a in plan.assignments]
    assert told == [
        "train full full",
        "train partial HIP",
        "train partial HIP",
        "train unlabelled unlabelled",
        "test full full",
    ]
    cohort = plan.sources[0].cohort
    entry = data.open_store(cohort).prepare(cohort, cohort.scans)[1]
    assert entry.shape == (36, 52, 38)
    # Both parts are in the file; what the training may see of them is the whole.
    assert len(np.unique(entry.read_codes())) == 3
    assert plan.known[1] == "HIP as one"
