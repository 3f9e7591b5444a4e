"""What a run was started with is compared with what is asked for, by content."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_run import TINY

from neoseg.cohort.folds import fold_of_each
from neoseg.configuration.config import CONFIG_DIR, label_space
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of
from neoseg.files import write_json, write_text
from neoseg.findings.problems import CohortError
from neoseg.findings.settings import ConfigError
from neoseg.runs import run as run_module
from neoseg.runs.folder import INIT, RECORD, claimed
from neoseg.runs.origin import changes_of, differing, note_changes
from neoseg.runs.people import SCANS, as_trained
from neoseg.runs.run import planned, train
from neoseg.sweeps.jobs import Job
from neoseg.sweeps.sweep import _require_same

Ask = Callable[..., RunConfig]


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Six subjects of four structures; uncompressed, so that every label set has one size."""
    root = tmp_path / "v1"
    for number in range(6):
        anat = root / f"sub-{number:02}" / "anat"
        anat.mkdir(parents=True)
        labels = np.random.default_rng(number).integers(0, 5, (8, 8, 8), np.uint8)
        for name, array in (("T2w", labels * np.float32(90)), ("dseg", labels)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), anat / f"sub-{number:02}_{name}.nii")
    rows = [f"{v.index}\t{v.abbreviation}" for v in label_space("drawem9").leaves]
    (root / "dseg.tsv").write_text("\n".join(["index\tname", *rows]) + "\n")
    return root


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    tiny = [item for item in TINY if not item.startswith("cohort")]
    choices = ("+experiment=supervised", "cohort=bids", "cohort.root=/", "logger=csv")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", [*choices, "annotation.full_fraction=0.5", *tiny])


@pytest.fixture
def ask(tmp_path: Path, bids: Path, composed: DictConfig) -> Ask:
    def asked(*overrides: str, root: Path = bids) -> RunConfig:
        places = [f"cohort.root={root}", f"paths.data={tmp_path / 'data'}"]
        other = OmegaConf.from_dotlist([*places, *overrides])
        return RunConfig.parse(OmegaConf.merge(composed, other))

    return asked


def corrected(root: Path) -> Path:
    """Return a copy of a cohort with other labels in one file, of one size and time."""
    copy = root.with_name("v2")
    shutil.copytree(root, copy, copy_function=shutil.copy2)
    path = copy / "sub-03" / "anat" / "sub-03_dseg.nii"
    content = path.read_bytes()
    path.write_bytes(content[:352] + content[352:].replace(b"\x02", b"\x03"))
    return copy


def test_a_started_run_goes_on_with_its_own_settings_alone(
    tmp_path: Path, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "a b"
    planned(ask("seed=2"), folder)
    before = (folder / "config.yaml").read_text()
    planned(ask("seed=2", "patches.workers=3", "trainer.max_time=01:00:00:00"), folder)
    write_text(folder / "config.yaml", before)
    with pytest.raises(ConfigError, match="seed was 2 in the run, and is 1 now") as told:
        planned(ask("seed=1", "optimizer.lr=0.5"), folder)
    assert "optimizer.lr was" in str(told.value)
    assert f"python -m neoseg.train 'resume={folder}'" in str(told.value)
    assert (folder / "config.yaml").read_text() == before
    planned(ask("seed=1"), folder, resuming=True)
    assert "seed was 2 in the run, and is 1 now" in caplog.text
    planned(ask("seed=2"), folder, resuming=True)
    told = changes_of(folder)
    assert [line.partition(",")[0] for line in told] == [
        "seed was 2 in the run",
        "seed was 1 in the run",
    ]
    note_changes(folder, ["another change", told[0]])
    assert changes_of(folder) == [*told, "another change"]


def test_other_files_are_another_run_and_a_copy_is_not(
    tmp_path: Path, ask: Ask, bids: Path
) -> None:
    planned(ask(), tmp_path / "run")
    shutil.copytree(bids, bids.with_name("copy"))
    planned(ask(root=bids.with_name("copy")), tmp_path / "run")
    other = ask(root=corrected(bids))
    with pytest.raises(ConfigError, match=r"the files of 1 of 6 scans.* bids/sub-03"):
        planned(other, tmp_path / "run")
    (tmp_path / "run" / SCANS).write_text("[")
    with pytest.raises(ConfigError, match=rf"{SCANS} is not what a run writes"):
        planned(other, tmp_path / "run")


def test_other_meanings_of_the_same_integers_are_another_run(
    tmp_path: Path, ask: Ask, bids: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planned(ask(), tmp_path / "run")
    table = bids / "dseg.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    rows[1][1], rows[2][1] = rows[2][1], rows[1][1]
    other = bids.with_name("other")
    shutil.copytree(bids, other)
    (other / "dseg.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")
    with pytest.raises(ConfigError, match=r"6 of 6 scans, what their labels mean"):
        planned(ask(root=other), tmp_path / "run")
    as_trained(ask().plan(), tmp_path / "run")
    assert "mean something else" not in caplog.text
    as_trained(ask(root=other).plan(), tmp_path / "run")
    assert "label files of 6 scans mean something else than in the training" in caplog.text


def test_other_weights_of_init_from_are_another_run(tmp_path: Path, ask: Ask) -> None:
    source, folder = tmp_path / "weights.pt", tmp_path / "run"
    source.write_bytes(b"first")
    run = ask(f"init_from={source}")
    planned(run, folder)
    write_json(folder / INIT, {"fingerprint": digest_of(source)})
    planned(run, folder)
    source.write_bytes(b"later")
    with pytest.raises(ConfigError, match=r"the weights of init_from=.* have changed since"):
        planned(run, folder)
    planned(run, folder, resuming=True)
    source.unlink()
    planned(run, folder)


def test_a_finished_run_is_the_answer_to_its_own_question_alone(
    tmp_path: Path, ask: Ask, bids: Path
) -> None:
    folder = tmp_path / "run"
    planned(ask("seed=2"), folder)
    write_text(folder / RECORD, '{"test_dice": 0.5}')
    write_text(folder / "card.md", "")
    assert train(ask("seed=2"), folder) == 0.5
    for other in (ask("seed=1"), ask("seed=2", root=corrected(bids))):
        for resuming in (False, True):
            with pytest.raises(ConfigError, match="holds a run that has ended otherwise"):
                train(other, folder, resuming)


def test_a_run_that_waited_for_its_folder_looks_again(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_train", lambda *_: pytest.fail("trained twice"))
    run = ask()
    planned(run, tmp_path)
    results: list[float] = []
    second = threading.Thread(target=lambda: results.append(train(run, tmp_path)))
    with claimed(tmp_path):
        second.start()
        second.join(0.5)
        assert second.is_alive()
        write_text(tmp_path / "card.md", "")
        write_text(tmp_path / RECORD, '{"test_dice": 0.5}')
    second.join(60)
    assert results == [0.5]


def test_a_sweep_on_other_data_or_settings_is_not_done(
    tmp_path: Path, ask: Ask, bids: Path
) -> None:
    folder = tmp_path / "job"
    planned(ask(), folder)
    write_text(folder / RECORD, '{"test_dice": 0.5}')

    def job(run: RunConfig, folder: Path = folder) -> Job:
        return Job((), folder, "supervised", run)

    _require_same([job(ask()), job(ask("seed=4"), tmp_path / "new")])
    assert differing(ask(), folder) == ""
    with pytest.raises(ConfigError, match=r"(?s)job holds a run .*bids/sub-03.*sweep=.*Nothing"):
        _require_same([job(ask(root=corrected(bids)))])
    with pytest.raises(ConfigError, match=r"seed was 0 in the run"):
        _require_same([job(ask("seed=1"))])


def test_two_runs_that_start_in_one_second_have_folders_of_their_own() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        found = {compose("train", return_hydra_config=True).hydra.run.dir for _ in range(2)}
    assert len(found) == 2


def test_a_cohort_that_has_changed_keeps_the_split_of_the_run(
    tmp_path: Path, ask: Ask, bids: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """New people would be drawn into the split, and those of the training into the test."""
    folder = tmp_path / "run"
    plan = planned(ask(), folder)
    fold = fold_of_each(plan, 2)
    before = plan.sources[0].split
    shutil.rmtree(bids / f"sub-{before.train[0]}")
    for number in range(7, 16):
        shutil.copytree(bids / f"sub-{before.test[0]}", bids / f"sub-{number:02}")
        for path in (bids / f"sub-{number:02}" / "anat").iterdir():
            path.rename(path.with_name(path.name.replace(before.test[0], f"{number:02}")))
    now = ask().plan()
    assert set(now.sources[0].split.test) != set(before.test)
    again = as_trained(now, folder)
    assert again.sources[0].split == replace(before, train=before.train[1:])
    assert [scan.subject for scan, _ in again.of_split("test")] == list(before.test)
    assert fold_of_each(again, 2) == fold
    assert (
        f"9 of 14 scans of cohort 'bids' took no part in {folder} and are left out" in caplog.text
    )
    assert {scan.subject for scan in again.sources[0].cohort.scans} == {
        *(*before.train[1:], *before.val, *before.test)
    }
    table = (folder / "split.csv").read_text()
    (folder / "split.csv").write_text(table.replace("val", "va"))
    with pytest.raises(CohortError, match=r"split\.csv row \d+: found split 'va'; expected"):
        as_trained(now, folder)
    (folder / "split.csv").unlink()
    with pytest.raises(CohortError, match=r"split\.csv"):
        as_trained(now, folder)
