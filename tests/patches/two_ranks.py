"""Two processes that load their shares of the same steps: `python two_ranks.py FOLDER`.

They are forked from this one, which has imported everything and computed nothing, and talk over
gloo on the loopback device. Each writes what it saw; so does one process that sees everything.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

sys.path.append(str(Path(__file__).resolve().parents[1]))

from small_cohort import annotate_cohort, write_cohort

from neoseg.augment import AugmentSettings
from neoseg.augment.warp import SpatialSettings
from neoseg.cohort import Plan
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import PatchSettings
from neoseg.store import PrepareSettings
from neoseg.store.store import Store

PATCHES = PatchSettings(size=(8, 8, 8), batch_size=4, steps_per_epoch=3, workers=0)
AUGMENT = AugmentSettings(spatial=SpatialSettings(elastic=1.0, elastic_grid=8.0, probability=1.0))
EPOCHS = 2
SECONDS = 60


def trainer(rank: int, ranks: int, done: int) -> Any:
    """As much of a Trainer as the data module looks at."""
    progress = SimpleNamespace(total=SimpleNamespace(ready=done))
    return SimpleNamespace(
        global_rank=rank,
        world_size=ranks,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )


def items_of(batch: Any) -> list[list[str]]:
    """Return scan and content of each item."""
    return [
        [str(scan), hashlib.sha256(image.numpy().tobytes() + codes.numpy().tobytes()).hexdigest()]
        for scan, image, codes in zip(batch.scan.tolist(), batch.image, batch.codes, strict=True)
    ]


def load(folder: Path, annotated: Plan, rank: int, ranks: int, step: Any) -> list[Any]:
    """Return `step(batch)` of every batch of the rank, over all epochs."""
    store = Store(folder / "store", PrepareSettings(locations=50))
    data = MixedDataModule(annotated, store, PATCHES, AUGMENT, seed=3)
    if rank == 0:
        data.prepare_data()
    if ranks > 1:
        dist.barrier()
    data.setup()
    seen = []
    for epoch in range(EPOCHS):
        data.trainer = trainer(rank, ranks, epoch * PATCHES.steps_per_epoch)
        seen += [step(batch) for batch in data.train_dataloader()]
    for scan in data.train:  # also those of which this rank had no item
        scan.entry.image[0, 0, 0, 0]
    mapped = Path("/proc/self/maps")
    report = {
        "entries": [str(scan.entry.folder) for scan in data.train],
        "mapped": mapped.read_text().splitlines() if mapped.is_file() else None,
    }
    (folder / f"rank-{rank}-of-{ranks}.json").write_text(json.dumps({"steps": seen, **report}))
    return seen


def run_rank(folder: Path, annotated: Plan, rank: int, port: int) -> None:
    """Take part as one of two; the ranks tell each other what they see at each step."""
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)

    def step(batch: Any) -> list[list[list[str]]]:
        both: list[Any] = [None, None]
        dist.all_gather_object(both, items_of(batch))
        return both

    load(folder, annotated, rank, 2, step)
    dist.destroy_process_group()


def free_port() -> int:
    """Return a port of the loopback device that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(folder: Path) -> None:
    """Fork two ranks, end them if they hang, then load everything here."""
    cohort = write_cohort(folder / "scans", 5)
    annotated = annotate_cohort(cohort, ["full", "full", "partial", "partial", "partial"])
    context = multiprocessing.get_context("fork")
    port = free_port()
    ranks = [
        context.Process(target=run_rank, args=(folder, annotated, rank, port), daemon=True)
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(SECONDS)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        if process.is_alive():
            process.kill()
            process.join()
    if codes != [0, 0]:
        sys.exit(f"the ranks ended with {codes}")
    load(folder, annotated, 0, 1, items_of)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
