"""Faults of the machine in the middle of a command: one message, and no work is lost."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from interruption import assert_same_runs

from neoseg.patches.datamodule import MixedDataModule
from neoseg.train import main
from neoseg.training.module import SegmentationModule

SETTINGS = ("partial_superclass", "checkpoint.every_steps=1")


def train(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> int:
    """Run `neoseg.train` in this process; return its exit status."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["train", *overrides, f"hydra.run.dir={folder}"])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def whole(tiny: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        assert train(patch, folder, *tiny(*SETTINGS)) == 0
    return folder


def fail_at(step: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = SegmentationModule.training_step, [0]

    def failing(self: SegmentationModule, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == step + 1:
            raise error
        return plain(self, *args)

    monkeypatch.setattr(SegmentationModule, "training_step", failing)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "batch_size"),
        (MemoryError(), "the machine has too little memory"),
        (OSError(errno.ESTALE, "Stale file handle", "/net/x"), "/net/x cannot be read"),
    ],
)
def test_one_message_and_the_run_goes_on(
    error: BaseException,
    words: str,
    whole: Path,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as context:
        fail_at(5, error, context)
        assert train(context, tmp_path, *tiny(*SETTINGS)) == 1
    seen = capsys.readouterr()
    assert words in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err
    assert "Traceback" in (tmp_path / "train.log").read_text()
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 5
    assert train(monkeypatch, tmp_path, *tiny(*SETTINGS)) == 0
    assert_same_runs(whole, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_who_is_asked_to_end_saves_the_step(
    number: signal.Signals,
    whole: Path,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, calls = SegmentationModule.training_step, [0]
    settings = tiny(SETTINGS[0])

    def asked(self: SegmentationModule, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            os.kill(os.getpid(), number)
        return plain(self, *args)

    before = signal.getsignal(number)
    with monkeypatch.context() as context:
        context.setattr(SegmentationModule, "training_step", asked)
        assert train(context, tmp_path, *settings) == 128 + number
    assert signal.getsignal(number) is before
    seen = capsys.readouterr()
    assert f"interrupted; python -m neoseg.train resume={tmp_path} goes on" in seen.out + seen.err
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert train(monkeypatch, tmp_path, *settings) == 0
    assert_same_runs(whole, tmp_path)


def test_ctrl_c_says_how_to_go_on(
    whole: Path,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as context:
        fail_at(5, KeyboardInterrupt(), context)
        assert train(context, tmp_path, *tiny(*SETTINGS)) == 130
    signal.signal(signal.SIGINT, before)  # which Lightning leaves deaf
    seen = capsys.readouterr()
    assert f"interrupted; python -m neoseg.train resume={tmp_path} goes on" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err
    assert train(monkeypatch, tmp_path, *tiny(*SETTINGS)) == 0
    assert_same_runs(whole, tmp_path)


def test_an_ablation_is_a_sweep(
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = [text for text in tiny("supervised") if not text.startswith("+experiment")]
    assert train(monkeypatch, tmp_path, "+ablation=paper_figure4", *settings) == 2
    seen = capsys.readouterr()
    assert "ablation=paper_figure4 is a sweep of several runs; add -m" in seen.out + seen.err


def test_a_full_disk_leaves_the_last_checkpoint(
    whole: Path,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, calls = os.fsync, [0]

    def full(handle: int) -> None:
        if ".last.ckpt.tmp" in os.readlink(f"/proc/self/fd/{handle}"):
            calls[0] += 1
            if calls[0] == 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(handle)

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        assert train(context, tmp_path, *tiny(*SETTINGS)) == 1
    seen = capsys.readouterr()
    assert "No space left on device" in seen.out + seen.err
    assert "Make room" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert names == ["last.ckpt"]
    assert train(monkeypatch, tmp_path, *tiny(*SETTINGS)) == 0
    assert_same_runs(whole, tmp_path)


@pytest.mark.slow
def test_a_loader_process_that_dies(
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = SegmentationModule.training_step
    settings = tiny(*SETTINGS, "patches.workers=1")

    def murderous(self: SegmentationModule, batch: Any, number: int) -> Any:
        if self.global_step == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
        return plain(self, batch, number)

    with monkeypatch.context() as context:
        context.setattr(SegmentationModule, "training_step", murderous)
        assert train(context, tmp_path, *settings, "trainer.max_epochs=3") == 1
    seen = capsys.readouterr()
    assert "a process that loads patches died" in seen.out + seen.err
    assert "lower patches.workers" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["loops"]


def test_an_input_that_went_away(
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # After the cohort was read, and before the store has it.
    plain = MixedDataModule.prepare_data

    def late(self: MixedDataModule) -> None:
        image = self.annotated.sources[0].of_split("train")[0][0].images[0]
        assert image is not None
        moved = image.with_name("gone")
        image.rename(moved)
        try:
            plain(self)
        finally:
            moved.rename(image)

    monkeypatch.setattr(MixedDataModule, "prepare_data", late)
    status = train(monkeypatch, tmp_path, *tiny(*SETTINGS, "store.normalise=minmax"))
    seen = capsys.readouterr()
    assert status == 2
    assert "fetch the file, or exclude the subject" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err


def test_hydra_s_own_first_write_is_told_in_one_message(
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    assert train(monkeypatch, tmp_path / "file" / "run", *tiny(*SETTINGS)) == 1
    seen = capsys.readouterr()
    assert f"{tmp_path / 'file' / 'run'} is not there" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hydra.core.utils.configure_log", full)
    assert train(monkeypatch, tmp_path / "run", *tiny(*SETTINGS)) == 1
    seen = capsys.readouterr()
    assert "Make room" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system that is read-only")
def test_a_place_that_cannot_be_written(
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    mounted = shutil.which("mount") and not os.system(
        f"mount -t tmpfs -o ro,size=1m none '{place}' 2> /dev/null"
    )
    if not mounted:
        pytest.skip("nothing can be mounted here")
    try:
        status = train(
            monkeypatch, tmp_path / "run", *tiny(*SETTINGS), f"paths.data={place / 'data'}"
        )
    finally:
        os.system(f"umount '{place}'")
    seen = capsys.readouterr()
    assert status == 1
    assert "Read-only file system" in seen.out + seen.err
    assert "set paths.runs, paths.data" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err
