"""Time and memory of the fused losses beside those of MONAI and nnU-Net, on this machine.

    python experiments/benchmarks/losses/benchmark.py [--size 96] [--classes 88] [--threads 2]

Forward and backward pass on logits [1, classes, size, size, size] of float32. Every loss runs in a
process of its own; rounds go through all of them in turn, so that a disturbance meets all alike.
A peer that is not installed is left out with a note. Prints a table and writes results.csv.
"""

from __future__ import annotations

import argparse
import csv
import gc
import importlib.util
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

LOSSES = {
    "neoseg dice_ce": "neoseg",
    "neoseg marginal_ce + leaf_dice, all leaves known": "neoseg",
    "neoseg marginal_ce + leaf_dice, half of the leaves merged": "neoseg",
    "neoseg dice_ce, without compiler": "neoseg",
    "neoseg bce + dice (sigmoid)": "neoseg",
    "MONAI DiceCELoss": "monai",
    "nnU-Net Dice + CE": "nnunetv2",
    "nnU-Net Dice + CE, Dice compiled": "nnunetv2",
}


def build(name: str, logits: torch.Tensor, leaf: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return the loss as a function without arguments."""
    if name.startswith("MONAI"):
        from monai.losses import DiceCELoss

        loss = DiceCELoss(softmax=True, to_onehot_y=True)
        return lambda: loss(logits, leaf[:, None])
    if name.startswith("nnU-Net"):
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

        settings = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
        loss = DC_and_CE_loss(settings, {}, dice_class=MemoryEfficientSoftDiceLoss)
        if "compiled" in name:
            loss.dc = torch.compile(loss.dc)
        return lambda: loss(logits, leaf[:, None])
    return _ours(name, logits, leaf)


def _ours(name: str, logits: torch.Tensor, leaf: torch.Tensor) -> Callable[[], torch.Tensor]:
    from neoseg.labels import Codebook, LabelSpace, LabelTable
    from neoseg.losses import Objective

    classes = logits.shape[1] - 1 if "sigmoid" in name else logits.shape[1]
    leaves = [
        {"index": k, "name": f"leaf {k}", "abbreviation": f"L{k}", "color": "#808080"}
        for k in range(classes)
    ]
    half = [f"L{k}" for k in range(1, 1 + classes // 2)]
    table = {
        "name": "benchmark",
        "background": "L0",
        "leaves": leaves,
        "classes": [{"name": "half", "abbreviation": "H", "leaves": half}],
    }
    space = LabelSpace.from_table(LabelTable.parse(table))
    book = Codebook.build(space, [space.label_set(["H"])])
    codes = (leaf + 1).to(torch.uint8)
    if "merged" in name:
        inside = (leaf >= 1) & (leaf <= classes // 2)
        codes = torch.where(inside, book.code(space.label_set(["H"])), codes).to(torch.uint8)
    if "sigmoid" in name:
        objective = Objective({"bce": {}, "dice": {}}, book, "multilabel").to(logits.device)
        return lambda: objective(logits, codes)
    terms = (
        {"marginal_ce": {}, "leaf_dice": {"alpha": 1}} if "leaf_dice" in name else {"dice_ce": {}}
    )
    objective = Objective(terms, book, "softmax").to(logits.device)
    return lambda: objective(logits, codes)


def serve(name: str, size: int, classes: int, threads: int, pipe: object) -> None:
    """Measure one forward and backward pass for each message until None arrives."""
    import os

    if "without compiler" in name:
        os.environ["NEOSEG_NATIVE"] = "0"
    torch.set_num_threads(threads)
    rng = torch.Generator().manual_seed(0)
    # A multi-label head has a channel for the super-class as well.
    channels = classes + 1 if "sigmoid" in name else classes
    logits = torch.randn(1, channels, size, size, size, generator=rng).requires_grad_()
    leaf = torch.randint(0, classes, (1, size, size, size), generator=rng)
    loss = build(name, logits, leaf)
    while pipe.recv() is not None:
        logits.grad = None
        gc.collect()
        before = _restart_peak()
        start = time.perf_counter()
        value = loss()
        middle = time.perf_counter()
        value.backward()
        end = time.perf_counter()
        extra = (_memory("VmHWM") - before) / (logits.numel() * 4)
        pipe.send((middle - start, end - middle, extra, value.item()))


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def _restart_peak() -> int:
    """Make the peak of resident memory start from now; returns resident memory in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def measure(args: argparse.Namespace) -> list[dict[str, object]]:
    """Run all losses in turn; the first round warms up (and compiles) and is not counted."""
    context = multiprocessing.get_context("spawn")
    servers = {}
    for name, package in LOSSES.items():
        if importlib.util.find_spec(package) is None:
            print(f"left out: {name} ({package} is not installed)")
            continue
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve,
            args=(name, args.size, args.classes, args.threads, theirs),
            daemon=True,
        )
        process.start()
        servers[name] = (process, ours)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in servers}
    for count in range(args.rounds + 1):
        for name, (_, pipe) in servers.items():
            pipe.send("go")
            result = pipe.recv()
            if count:
                found[name].append(result)
        print(f"round {count} of {args.rounds}", flush=True)
    for process, pipe in servers.values():
        pipe.send(None)
        process.join()
    rows = []
    for name, results in found.items():
        forward, backward, extra, value = zip(*results, strict=True)
        both = [f + b for f, b in zip(forward, backward, strict=True)]
        rows.append(
            {
                "loss": name,
                "forward_s": round(statistics.median(forward), 3),
                "backward_s": round(statistics.median(backward), 3),
                "both_s": round(statistics.median(both), 3),
                "both_min_s": round(min(both), 3),
                "extra_memory_of_logits": round(max(extra), 2),
                "value": round(value[0], 4),
            }
        )
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=96, help="edge of the patch in voxels")
    parser.add_argument("--classes", type=int, default=88)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results.csv"))
    args = parser.parse_args()
    rows = measure(args)
    base = rows[0]["both_s"]
    print(f"{'loss':60} {'forward':>8} {'backward':>8} {'both':>8} {'ratio':>6} {'memory':>7}")
    for row in rows:
        row["times_first"] = round(row["both_s"] / base, 2)
        print(
            f"{row['loss']:60} {row['forward_s']:8.3f} {row['backward_s']:8.3f} "
            f"{row['both_s']:8.3f} {row['times_first']:6.2f} {row['extra_memory_of_logits']:7.2f}"
        )
    with args.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": args.threads,
        "torch": torch.__version__,
        "patch": args.size,
        "classes": args.classes,
        "rounds": args.rounds,
    }
    args.output.with_suffix(".json").write_text(json.dumps(machine, indent=2) + "\n")


if __name__ == "__main__":
    main()
