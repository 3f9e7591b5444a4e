"""Every line of the page "My annotation is like this", on data that are like that."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.data import DataConfig
from neoseg.configuration.nodes import register_nodes

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("s1", "s2", "s3", "s4", "s5")
PARTS = ("train", "train", "train", "val", "test")


def whole(labels: np.ndarray) -> np.ndarray:
    return np.where(labels > 0, 3, 0)


def without(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.where(labels == value, 0, labels)


def in_slices(labels: np.ndarray) -> np.ndarray:
    drawn = np.zeros_like(labels)
    drawn[:, 2::2] = labels[:, 2::2]
    return drawn


def recoded(labels: np.ndarray) -> np.ndarray:
    return np.array([0, 5, 6])[labels]


@dataclass(frozen=True)
class Case:
    """How the files of subjects differ, the table, and who is then annotated how."""

    told: str
    change: dict[str, Callable[[np.ndarray], np.ndarray] | None] = field(default_factory=dict)
    table: str = ""


FULL = "train full full all, val full full all, test full full all"
HIDDEN = "partial superclass HIP as one"
OTHERS = "s3 s4 s5"
CASES = [
    Case(f"3 {FULL}"),
    Case(f"1 {FULL}, 2 train {HIDDEN}"),
    Case(f"2 {FULL}, 1 train {HIDDEN}"),
    Case(
        f"1 {FULL}, 1 train partial HIP HIP as one, 1 train unlabelled unlabelled none",
        table="s1 full s2 HIP s3 unlabelled s4 HIP s5 HIP",
    ),
    Case(
        "2 train full full all, train partial outline HIP as one, val partial outline HIP as one, "
        "test partial outline HIP as one",
        dict.fromkeys(OTHERS.split(), whole),
    ),
    Case(
        "2 train full full all, train full full all but POST, val full full all but POST, "
        "test full full all",
        dict.fromkeys(["s3", "s4"], without(2)),
    ),
    Case(
        "2 train full full all, train partial as_one HIP as one, val full full all, "
        "test full full all",
        {"s3": lambda labels: np.where(labels > 0, 1, 0)},
        "s1 full s2 full s3 as_one s4 full s5 full",
    ),
    Case(
        "train full full all, train partial no_post all but POST, "
        "train partial no_ant all but ANT, "
        "val partial no_post all but POST, test full full all",
        {"s2": without(2), "s3": without(1), "s4": without(2)},
        "s1 full s2 no_post s3 no_ant s4 no_post s5 full",
    ),
    Case(
        "train full full all, 2 train partial drawn all, val partial drawn all, "
        "test partial drawn all",
        dict.fromkeys(SUBJECTS[1:], in_slices),
    ),
    Case(
        "2 train full full all, train unlabelled unlabelled none, val full full all, "
        "test full full all",
        {"s3": None},
    ),
    Case(
        "2 train full full all, train unlabelled unlabelled none, val full full all, "
        "test full full all",
        table="s1 full s2 full s3 ignored s4 full s5 full",
    ),
    Case(
        f"3 {FULL}",
        {"s3": lambda labels: np.zeros_like(labels)},
        "s1 full s2 full s3 full s4 full s5 full",
    ),
    Case(
        "2 train full full all, train full lab2 all, val full full all, test full lab2 all",
        {"s3": recoded, "s5": recoded},
        "s1 full s2 full s3 lab2 s4 full s5 lab2",
    ),
    Case(
        f"3 {FULL}",
        {"s3": lambda v: np.where(v == 2, 9, v), "s4": lambda v: np.where(v == 2, 255, v)},
    ),
    Case(f"3 {FULL}, 2 train partial coarse HIP as one"),
    Case(f"train full full all, 2 train {HIDDEN}, val {HIDDEN}, test full full all"),
]


def lines() -> list[list[str]]:
    """The first code of the second column of each row, as a shell takes it apart."""
    text = (ROOT / "docs/tutorials/partial-labels.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)`", text, re.MULTILINE)
    return [shlex.split(row) for row in rows]


def write(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray] | None) -> None:
    seed = int(name[1:]) if name[1:].isdigit() else 9
    rng = np.random.default_rng([seed, *name.encode()])
    anat = folder / f"sub-{name}" / "anat"
    anat.mkdir(parents=True)
    labels = np.zeros((8, 8, 8), np.int64)
    labels[2:6, 2:4, 2:6], labels[2:6, 4:6, 2:6] = 1, 2
    image = labels * 100.0 + rng.normal(0, 20, labels.shape)
    pairs = [("T2w", image.astype(np.float32))]
    if change is not None:
        pairs.append(("dseg", change(labels).astype(np.uint8)))
    for suffix, data in pairs:
        nib.save(nib.Nifti1Image(data, np.eye(4)), anat / f"sub-{name}_{suffix}.nii.gz")


def data_of(folder: Path, case: Case, line: list[str]) -> DataConfig:
    for name in SUBJECTS:
        write(folder / "A", name, case.change.get(name, lambda labels: labels))
    for name in ("b1", "b2"):
        write(folder / "B", name, lambda labels: (labels > 0).astype(np.int64))
    words = case.table.split()
    pairs = [",".join(pair) for pair in zip(words[::2], words[1::2], strict=True)]
    (folder / "who.csv").write_text("\n".join(["subject,annotation", *pairs]))
    rows = [",".join(pair) for pair in zip(SUBJECTS, PARTS, strict=True)]
    (folder / "split.csv").write_text("\n".join(["subject,split", *rows]))
    usual = ["labels=hippocampus", "cohort=bids", f"cohort.root={folder}/A", "split=file"]
    usual += [f"split.file={folder}/split.csv", f"paths.data={folder}/data"]
    usual += ["cohort.convention=identity", "+store.processes=1"]
    register_nodes()
    here = [item.replace("=who.csv", f"={folder}/who.csv") for item in line]
    here = [item.replace("root=B", f"root={folder}/B") for item in here]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", [*usual, *here]), resolve=False)
    assert isinstance(config, dict)
    kept = {key: config[key] for key in DataConfig.model_fields if key in config}
    return DataConfig.parse(kept)


def test_there_is_a_case_for_each_line() -> None:
    assert len(lines()) == len(CASES) >= 8


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_line_does_what_it_says(number: int, tmp_path: Path) -> None:
    case, line = CASES[number], lines()[number]
    data = data_of(tmp_path, case, line)
    plan = data.plan()
    told = Counter(
        f"{item.split} {item.stream} {item.protocol} {known}"
        for item, known in zip(plan.assignments, plan.known, strict=True)
    )
    wanted: Counter[str] = Counter()
    for text in case.told.split(", "):
        number_of, _, rest = text.partition(" ")
        wanted[rest if number_of.isdigit() else text] += (
            int(number_of) if number_of.isdigit() else 1
        )
    assert told == wanted
    store = data.open_store(plan.sources[0].cohort)
    for source in plan.sources:  # the files hold what they are said to
        store.prepare(source.cohort, source.cohort.scans)
