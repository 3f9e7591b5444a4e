"""Memory and time of one forward pass of the benchmark's network: `python forward.py FOLDER`."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import torch
from monai.networks.nets import DynUNet


def make_network(folder: Path) -> tuple[DynUNet, list[int]]:
    record = json.loads((folder / "network.json").read_text())
    network = DynUNet(**record["network"])
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return network.eval(), record["patch"]


def resident() -> float:
    """Resident memory now, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e6


def main() -> None:
    network, patch = make_network(Path(sys.argv[1]))
    image = torch.randn(1, 1, *patch)
    before = resident()
    with torch.no_grad():
        network(image)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        started = time.perf_counter()
        network(image)
    seconds = time.perf_counter() - started
    print(json.dumps({"activations": peak - before, "seconds": seconds}))


if __name__ == "__main__":
    main()
