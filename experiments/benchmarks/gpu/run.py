"""Everything that neoseg must do on a GPU, checked and measured by one command.

    python experiments/benchmarks/gpu/run.py [--parts correctness,losses] [--output FILE.csv]
    python experiments/benchmarks/gpu/run.py --dry       every part at toy size on the CPU

Prints a row for each check as it is done and appends it to the CSV; a check that failed is a row,
too. Each part has a process and a time of its own, all of them ten minutes. Called again, it makes
only what is missing for this device and version of the code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from experiments.benchmarks.gpu.bench import Bench, Row  # noqa: E402

PARTS = {
    "correctness": 75,
    "training": 140,
    "losses": 75,
    "step": 130,
    "predict": 70,
    "main_experiment": 110,
}
"""Seconds of each part on a GPU, the start of its process included."""

GRACE = 5
"""Seconds before its end from which on a part begins nothing more."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Run the parts; returns the rows of those that ran in this process."""
    options = parse(arguments)
    if not options.dry and not torch.cuda.is_available():
        sys.exit("torch finds no GPU here; --dry runs every part at toy size on the CPU")
    options.scratch.mkdir(parents=True, exist_ok=True)
    if options.dry or options.here:
        return [row for part in options.parts for row in run_part(part, options)]
    for part in options.parts:
        print(f"{part}, at most {PARTS[part]} s", flush=True)
        start_part(part, options)
    return []


def parse(arguments: list[str] | None) -> argparse.Namespace:
    def parts(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in PARTS]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: the parts are {' '.join(PARTS)}")
        return text.split(",")

    scratch = Path(tempfile.gettempdir()) / "neoseg-gpu"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=parts, default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--dry", action="store_true", help="toy sizes on the CPU")
    parser.add_argument("--output", type=Path, default=Path("gpu.csv"))
    parser.add_argument("--scratch", type=Path, default=scratch, help="folder for runs and data")
    parser.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="scans: miccai2012, hippocampus",
    )
    parser.add_argument("--here", action="store_true", help="all parts in this process")
    return parser.parse_args(arguments)


def run_part(part: str, options: argparse.Namespace) -> list[Row]:
    """Make the checks of a part in this process."""
    bench = Bench(
        part,
        torch.device("cpu" if options.dry else "cuda"),
        options.dry,
        options.output,
        options.scratch,
        float("inf") if options.dry else time.monotonic() + PARTS[part] - GRACE,
        dict(given.split("=", 1) for given in options.real),
    )
    try:
        import_module(f"experiments.benchmarks.gpu.{part}").run(bench)
    except Exception as error:  # a part that cannot begin is a row
        bench.add("(the part)", "FAILED", note=f"{type(error).__name__}: {error}")
    return bench.rows


def start_part(part: str, options: argparse.Namespace) -> None:
    """Run a part in a process of its own; one that hangs or dies does not keep the others."""
    command = [sys.executable, __file__, "--here", "--parts", part]
    command += ["--output", str(options.output), "--scratch", str(options.scratch)]
    command += [word for given in options.real for word in ("--real", given)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        status = process.wait(PARTS[part] + GRACE)
        why = f"ended with exit status {status}" if status else ""
    except subprocess.TimeoutExpired:
        why = f"took more than {PARTS[part]} s and was stopped"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)  # with its loader processes
            process.wait()
    if why:
        bench = Bench(part, torch.device("cuda"), False, options.output, options.scratch)
        bench.add("(the part)", "FAILED", note=why)


if __name__ == "__main__":
    main()
