"""What a training step of a network costs on this CPU: precision, and where the channels lie.

    python experiments/benchmarks/step/run.py [--rounds 5] [--leaves 3]

Forward and backward pass, loss (marginal cross-entropy and leaf-Dice) and AdamW, one thread.
Rounds go through all variants of a network in turn, so that a disturbance meets all alike; a ratio
is taken within a round. Seconds are of the processor. Prints a table and writes results.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

import neoseg
from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.losses import Objective
from neoseg.networks import build_network
from neoseg.progress import progress_bar

HERE = Path(__file__).parent
CONF = Path(neoseg.__file__).parents[1] / "conf" / "network"
CASES = {"unet3d": (4, 32, 48, 32), "dynunet": (4, 32, 48, 32), "unet3d_large": (1, 64, 64, 64)}
VARIANTS = {
    "float32": (False, False),
    "float32, channels last": (False, True),
    "bf16-mixed": (True, False),
    "bf16-mixed, channels last": (True, True),
}


def objective(leaves: int) -> Objective:
    """Return the losses that are recommended, over so many leaves of which two are told as one."""
    entries = [
        {"index": k, "name": f"leaf {k}", "abbreviation": f"L{k}", "color": "#808080"}
        for k in range(leaves)
    ]
    both = {"name": "both", "abbreviation": "B", "leaves": ["L1", "L2"]}
    table = {"name": "step", "background": "L0", "leaves": entries, "classes": [both]}
    space = LabelSpace.from_table(LabelTable.parse(table))
    book = Codebook.build(space, [space.label_set(["B"])])
    return Objective({"marginal_ce": {}, "leaf_dice": {}}, book, "softmax")


def step_of(name: str, variant: str, leaves: int) -> Callable[[], None]:
    """Return one training step as a function."""
    half, last = VARIANTS[variant]
    batch, *size = CASES[name]
    torch.manual_seed(0)
    settings = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    network: nn.Module = build_network(settings, 1, leaves, size).train()
    image, losses = torch.randn(batch, 1, *size), objective(leaves)
    codes = torch.randint(1, leaves + 2, (batch, *size), dtype=torch.uint8)
    if last:
        network = network.to(memory_format=torch.channels_last_3d)
        image = image.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            found = network(image)
        logits = found[0] if isinstance(found, list | tuple) else found
        logits = logits[:, 0] if logits.dim() == 6 else logits
        loss = losses(logits, codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--leaves", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in CASES:
        steps = {variant: step_of(name, variant, options.leaves) for variant in VARIANTS}
        taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        with progress_bar(name, total=options.rounds + 1) as bar:
            for number in range(options.rounds + 1):
                for variant, step in steps.items():
                    start = time.process_time()
                    step()
                    if number:  # the first one chooses kernels
                        taken[variant].append(time.process_time() - start)
                bar.advance()
        for variant, seconds in taken.items():
            ratios = [a / b for a, b in zip(taken["float32"], seconds, strict=True)]
            rows.append(
                {
                    "network": name,
                    "patches": "x".join(map(str, CASES[name])),
                    "variant": variant,
                    "cpu_seconds": round(statistics.median(seconds), 3),
                    "times_as_fast": round(statistics.median(ratios), 2),
                    "lowest": round(min(ratios), 2),
                    "highest": round(max(ratios), 2),
                }
            )
            print(rows[-1], flush=True)
    with (HERE / "results.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
